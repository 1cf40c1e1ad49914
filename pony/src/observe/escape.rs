//! Making text from outside harmless in a log line.
//!
//! What always holds: what comes out has no character that ends a line, moves a cursor, starts a
//! terminal sequence or turns the direction of writing; a quoted value ends at its quote; and no
//! value is longer than [`MAX_CHARS`].

use std::fmt::{self, Write as _};

/// Whether this character must not appear in a log.
pub(super) fn is_harmful(c: char) -> bool {
    let invisible = matches!(
        c,
        // Zero-width and direction marks, separators of lines and paragraphs, embeddings,
        // isolates, the byte order mark.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    c.is_control() || invisible
}

/// Text with harmful characters escaped, and nothing else changed.
pub(super) struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, rest) = cut(self.0);
        for c in text.chars() {
            write_char(f, c)?;
        }
        f.write_str(rest)
    }
}

/// A value between double quotes.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, rest) = cut(self.0);
        f.write_char('"')?;
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            write_char(f, c)?;
        }
        f.write_str(rest)?;
        f.write_char('"')
    }
}

/// A value as it is, or between quotes when it could be taken for something else.
pub(super) struct Value<'a>(pub &'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ambiguous =
            |c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '=') || is_harmful(c);
        let is_plain = !self.0.is_empty() && !self.0.contains(ambiguous);
        if is_plain && self.0.len() <= MAX_CHARS {
            f.write_str(self.0)
        } else {
            Quoted(self.0).fmt(f)
        }
    }
}

fn write_char(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if is_harmful(c) && c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c)),
        c if is_harmful(c) => write!(f, "\\u{:04x}", u32::from(c)),
        c => f.write_char(c),
    }
}

/// The part of `text` that is shown, and what is shown for the rest.
pub(super) fn cut(text: &str) -> (&str, &'static str) {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    }
}

/// Longer values are cut.
const MAX_CHARS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leaves_ordinary_values_alone_and_quotes_the_others() {
        for (value, shown) in [
            ("web-1", "web-1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("größe", "größe"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            (r#"say "x""#, r#""say \"x\"""#),
            (r"back\slash", r#""back\\slash""#),
            ("line\nbreak\r\t", r#""line\nbreak\r\t""#),
            ("\u{1b}[31mred\u{7f}", r#""\x1b[31mred\x7f""#),
            ("c1 \u{9b}31m", r#""c1 \u009b31m""#),
            ("bidi\u{202e}txt\u{2028}", r#""bidi\u202etxt\u2028""#),
        ] {
            assert_eq!(Value(value).to_string(), shown);
        }
    }

    #[test]
    fn cuts_values_that_are_too_long() {
        let shown = Value(&"ä".repeat(MAX_CHARS + 1)).to_string();
        assert_eq!(shown.chars().count(), MAX_CHARS + 3);
        assert!(shown.ends_with("ä…\""));
    }

    proptest! {
        #[test]
        fn nothing_harmful_and_no_open_quote_comes_out(text in any::<String>()) {
            let plain = Plain(&text).to_string();
            prop_assert!(!plain.contains(is_harmful));

            let quoted = Quoted(&text).to_string();
            prop_assert!(!quoted.contains(is_harmful));
            let inner = &quoted[1..quoted.len() - 1];
            let mut escaped = false;
            for c in inner.chars() {
                prop_assert!(escaped || c != '"');
                escaped = c == '\\' && !escaped;
            }
            prop_assert!(!escaped);
        }
    }
}
