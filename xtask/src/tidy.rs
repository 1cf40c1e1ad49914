//! The structural rules of the style guide, checked.
//!
//! Looks at files as text: it neither compiles nor knows types, so it can't be wrong about what
//! it sees, and sees only what a line shows. What rustc or clippy can check is left to them.

mod kernel;
mod reasons;
mod shape;
mod source;
mod words;

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};

use self::source::Source;

/// A rule broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    path: String,
    /// Counted from 1; 0 means the file as a whole.
    line: usize,
    message: String,
}

impl Problem {
    fn new(source: &Source, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: source.path.clone(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            message,
        } = self;
        match line {
            0 => write!(f, "{path}: {message}"),
            line => write!(f, "{path}:{line}: {message}"),
        }
    }
}

/// Checks every file of the repository.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut sources = Vec::new();
    collect(root, root, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(problems(&sources))
}

/// A rule about one file.
type Rule = fn(&Source) -> Vec<Problem>;

fn problems(sources: &[Source]) -> Vec<Problem> {
    let rules: [(Rule, bool); 9] = [
        (shape::file_length, true),
        (shape::kernel_function_length, true),
        (shape::module_doc, true),
        (shape::no_mod_rs, true),
        (words::aya_in_kernel_only, true),
        (words::unsafe_in_sys_only, true),
        (kernel::maps_are_documented, true),
        (kernel::names_fit, true),
        (words::no_place_of_this_machine, false),
    ];
    let each = sources.iter().flat_map(|source| {
        let is_rust = source.is_rust();
        rules
            .iter()
            .filter(move |(_, rust_only)| is_rust || !rust_only)
            .flat_map(move |(rule, _)| rule(source))
    });
    each.chain(reasons::all_are_documented(sources)).collect()
}

/// Reads the text files below `directory`, leaving out git's and cargo's own directories.
fn collect(root: &Path, directory: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        let is_build_output = path.join("CACHEDIR.TAG").exists() || entry.file_name() == "target";
        if kind.is_dir() && entry.file_name() != ".git" && !is_build_output {
            collect(root, &path, sources)?;
        }
        // What is not UTF-8 is not text.
        if kind.is_file()
            && entry.file_name() != ".git"
            && let Ok(text) = fs::read_to_string(&path)
        {
            let relative = path.strip_prefix(root)?.to_string_lossy().into_owned();
            sources.push(Source::new(&relative, &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_as_compilers_do() {
        let source = Source::new("a.rs", "");
        assert_eq!(Problem::new(&source, 3, "x").to_string(), "a.rs:3: x");
        assert_eq!(Problem::new(&source, 0, "x").to_string(), "a.rs: x");
    }

    #[test]
    fn rust_rules_leave_other_files_alone() {
        let sources = [Source::new("notes.md", "unsafe aya")];
        assert_eq!(problems(&sources), []);
    }

    #[test]
    fn a_bad_file_breaks_every_rule_it_can() {
        let sources = [Source::new("pony/src/mod.rs", "use aya; unsafe {}")];
        assert_eq!(problems(&sources).len(), 4);
    }
}
