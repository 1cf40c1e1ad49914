//! One file, as it is written and as code alone.

use std::path::Path;

/// One text file of the repository.
pub(super) struct Source {
    /// Relative to the repository, with `/`.
    pub(super) path: String,
    /// As written.
    pub(super) text: String,
    /// Only for Rust: comments are blanks and literals are `_`. Every byte keeps its place.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: String::new(),
        };
        if source.is_rust() {
            source.code = code_of(text);
        }
        source
    }

    pub(super) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Whether the file holds the tests of the module beside it.
    pub(super) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs")
    }

    /// The lines as written, each with its number and its code.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str, &str)> {
        self.text
            .lines()
            .zip(self.code.lines())
            .enumerate()
            .map(|(index, (text, code))| (index + 1, text, code))
    }

    /// Whether the file is `stem.rs` or lies in the directory `stem/`.
    pub(super) fn is_in(&self, stem: &str) -> bool {
        self.path
            .strip_prefix(stem)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

/// The identifiers and keywords of a line of code.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Blanks out comments and the inside of literals.
fn code_of(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        // The `r` that ends the name `for` begins no raw string.
        let (length, filler) = special(rest, after_word).unwrap_or((first.len_utf8(), None));
        let (piece, tail) = rest.split_at(length);
        match filler {
            None => code.push_str(piece),
            Some(filler) => code.extend(piece.bytes().map(|byte| match byte {
                b'\n' => '\n',
                _ => filler,
            })),
        }
        after_word = first.is_alphanumeric() || first == '_';
        rest = tail;
    }
    code
}

/// The length of the comment or literal at the start of `text`, and what stands for it.
fn special(text: &str, after_word: bool) -> Option<(usize, Option<char>)> {
    if text.starts_with("//") {
        return Some((text.find('\n').unwrap_or(text.len()), Some(' ')));
    }
    if text.starts_with("/*") {
        return Some((block_comment(text), Some(' ')));
    }
    let raw = text.trim_start_matches(['b', 'c']);
    if !after_word && raw.starts_with('r') && text.len() - raw.len() <= 1 {
        let hashes = raw[1..].len() - raw[1..].trim_start_matches('#').len();
        if raw[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = text.len() - raw.len() + hashes + 2;
            let found = text[body..].find(&end).map(|at| body + at + end.len());
            return Some((found.unwrap_or(text.len()), Some('_')));
        }
    }
    if text.starts_with('"') {
        return Some((quoted(text, '"'), Some('_')));
    }
    let inside = text.strip_prefix('\'')?;
    let is_char = inside.starts_with('\\') || inside.chars().nth(1) == Some('\'');
    is_char.then(|| (quoted(text, '\''), Some('_')))
}

/// The length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a literal that ends at the next quote that no backslash precedes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let rows = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", z)"#, "f(______, z)"),
            ("'a' 'b: '\\'' &'c d", "___ 'b: ____ &'c d"),
            ("r#\"a\"b\"# c", "________ c"),
            ("br\"a\" for\"a\"", "_____ for___"),
            ("\"a\nb\" c", "__\n__ c"),
            ("\"ü\" c", "____ c"),
        ];
        for (text, expected) in rows {
            assert_eq!(code_of(text), expected, "{text}");
        }
    }

    #[test]
    fn words_are_whole_identifiers() {
        let found: Vec<_> = words("unsafe_op(aya::x)").collect();
        assert_eq!(found, ["unsafe_op", "aya", "x"]);
    }

    #[test]
    fn a_module_is_its_file_and_its_directory() {
        let is_in = |path: &str| Source::new(path, "").is_in("pony/src/sys");
        assert!(is_in("pony/src/sys.rs") && is_in("pony/src/sys/a/b.rs"));
        assert!(!is_in("pony/src/system.rs"));
    }
}
