//! What the commands print.
//!
//! A reader that went away (`pony check | head`) is no error.

use std::io::{self, Write as _};

/// Prints a text on standard output, with a line's end.
pub(super) fn say(text: &str) {
    drop(io::stdout().lock().write_all(line(text).as_bytes()));
}

/// Prints a text on standard error, with a line's end.
pub(super) fn complain(text: &str) {
    drop(io::stderr().lock().write_all(line(text).as_bytes()));
}

/// In one piece, so that log lines do not come between.
fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
