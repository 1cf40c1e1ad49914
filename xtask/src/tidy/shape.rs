//! Rules about how large a file and its functions are, and how a file begins.

use super::{
    Problem,
    source::{Source, words},
};

/// A file longer than this is two subjects.
const FILE_LINES: usize = 500;
/// The verifier and the reader both hold a kernel function in the head. Clippy counts the others.
const KERNEL_FUNCTION_LINES: usize = 40;

pub(super) fn file_length(source: &Source) -> Vec<Problem> {
    let lines = source.text.lines().count();
    let too_long = lines > FILE_LINES;
    let message = format!("{lines} lines; split the file (at most {FILE_LINES})");
    too_long
        .then(|| Problem::new(source, 0, message))
        .into_iter()
        .collect()
}

pub(super) fn kernel_function_length(source: &Source) -> Vec<Problem> {
    let for_host = source.is_in("pony-ebpf/src/fixtures") || source.is_tests();
    if for_host || !source.path.starts_with("pony-ebpf/src/") {
        return Vec::new();
    }
    let limit = KERNEL_FUNCTION_LINES;
    functions(source)
        .filter(|function| function.lines > limit)
        .map(|Function { name, line, lines }| {
            let message = format!("`{name}` has {lines} lines; split it (at most {limit})");
            Problem::new(source, line, message)
        })
        .collect()
}

/// Tests beside their module need none: the module's says it.
pub(super) fn module_doc(source: &Source) -> Vec<Problem> {
    let first = source
        .text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
    let documented = source.is_tests() || first.is_none_or(|line| line.starts_with("//!"));
    let message =
        "no module doc; begin with what the file owns, does not do, and what always holds";
    (!documented)
        .then(|| Problem::new(source, 1, message))
        .into_iter()
        .collect()
}

pub(super) fn no_mod_rs(source: &Source) -> Vec<Problem> {
    let is_mod = source.path.ends_with("/mod.rs");
    let message = "name the file after its module: `foo.rs` beside `foo/`";
    is_mod
        .then(|| Problem::new(source, 0, message))
        .into_iter()
        .collect()
}

struct Function<'a> {
    name: &'a str,
    line: usize,
    /// Lines between the braces that hold code.
    lines: usize,
}

/// Every function with a body.
fn functions(source: &Source) -> impl Iterator<Item = Function<'_>> {
    let starts = source.code.split_inclusive('\n').scan(0, |end, code| {
        let start = *end;
        *end += code.len();
        Some((start, code))
    });
    starts.enumerate().flat_map(move |(index, (start, code))| {
        declared(code).filter_map(move |(at, name)| {
            let body = body(&source.code[start + at..])?;
            let code_lines = body.lines().filter(|line| !line.trim().is_empty()).count();
            // The lines of the braces themselves do not count.
            let lines = code_lines.saturating_sub(2);
            Some(Function {
                name,
                line: index + 1,
                lines,
            })
        })
    })
}

/// The functions that a line declares, each with where its name begins.
fn declared(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let all: Vec<_> = words(code).collect();
    let names: Vec<_> = all
        .windows(2)
        .filter(|pair| pair[0] == "fn")
        .map(|pair| pair[1])
        .collect();
    names.into_iter().filter_map(move |name| {
        // `fn(name)` is a type.
        let at = name.as_ptr().addr() - code.as_ptr().addr();
        code[..at].trim_end().ends_with("fn").then_some((at, name))
    })
}

/// The text from the first brace outside brackets to the one that closes it.
fn body(code: &str) -> Option<&str> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    let mut start = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' if braces == 0 => brackets += 1,
            ')' | ']' if braces == 0 => brackets = brackets.saturating_sub(1),
            ';' if braces == 0 && brackets == 0 => return None,
            '{' if brackets == 0 => {
                if braces == 0 {
                    start = at;
                }
                braces += 1;
            }
            '}' if brackets == 0 => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(&code[start..=at]);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        let body = "    work();\n    // why\n\n".repeat(lines);
        format!("trait T {{ fn a(x: [u8; 2]); }}\nfn long(\n    x: u8,\n) {{\n{body}}}\n")
    }

    #[test]
    fn a_file_may_have_500_lines() {
        let rust = |lines| Source::new("a.rs", &"\n".repeat(lines));
        assert_eq!(file_length(&rust(500)), []);
        assert_eq!(file_length(&rust(501)).len(), 1);
    }

    #[test]
    fn a_kernel_function_may_have_40_lines_of_code() {
        let problems = |lines, path| {
            let source = Source::new(path, &function(lines));
            kernel_function_length(&source)
        };
        assert_eq!(problems(40, "pony-ebpf/src/xdp.rs"), []);
        let found = problems(41, "pony-ebpf/src/xdp.rs");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 2);
        assert!(found[0].message.contains("`long` has 41 lines"));
        for host in [
            "pony/src/relay.rs",
            "pony-ebpf/src/fixtures/rows.rs",
            "pony-ebpf/src/parse/tests.rs",
        ] {
            assert_eq!(problems(41, host), [], "{host}");
        }
    }

    #[test]
    fn braces_in_literals_and_types_do_not_confuse_the_count() {
        let text = "fn a(f: fn(u8) -> u8) -> [u8; { 2 }] {\n  \"}\";\n  '{'\n}\nfn b() {\n}\n";
        let source = Source::new("a.rs", text);
        let found: Vec<_> = functions(&source).map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("a", 2), ("b", 0)]);
    }

    #[test]
    fn a_file_begins_with_its_doc() {
        for good in ["//! a\n", "#![no_std]\n\n//! a\n", ""] {
            assert_eq!(module_doc(&Source::new("a.rs", good)), [], "{good}");
        }
        for bad in ["use a;\n", "// a\n//! b\n"] {
            assert_eq!(module_doc(&Source::new("a.rs", bad)).len(), 1, "{bad}");
        }
        assert_eq!(module_doc(&Source::new("a/tests.rs", "use a;\n")), []);
    }

    #[test]
    fn a_module_file_has_its_modules_name() {
        assert_eq!(no_mod_rs(&Source::new("a/src/b.rs", "")), []);
        assert_eq!(no_mod_rs(&Source::new("a/src/b/mod.rs", "")).len(), 1);
    }
}
