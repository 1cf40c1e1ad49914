//! What the commands print.
//!
//! A reader that went away (`pony check | head`) is no error.

use std::{
    io::{self, Write as _},
    ops::Range,
};

/// Prints a text on standard output, with a line's end.
pub(super) fn say(text: &str) {
    drop(io::stdout().lock().write_all(line(text).as_bytes()));
}

/// Prints a text on standard error, with a line's end.
pub(super) fn complain(text: &str) {
    drop(io::stderr().lock().write_all(line(text).as_bytes()));
}

/// Rows in columns. Those in `right` stand at the right, as numbers do.
pub(super) fn table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    right: Range<usize>,
) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).enumerate();
        let cells: Vec<_> = cells
            .map(|(column, (cell, width))| {
                if right.contains(&column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            })
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// In one piece, so that log lines do not come between.
fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}
