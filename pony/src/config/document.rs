//! From a file to the one YAML document in it.
//!
//! Owns what can be wrong before any key is looked at: the file, its encoding, its size, its
//! syntax. All of these are answered with a single problem, because nothing else is known then.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeSeed;
use serde_yaml::Deserializer;

use super::node::{Node, ReadNode, TOO_MUCH, Tally};
use super::problem::{Complaint, Errors, Problem};

/// Larger files are refused: nobody writes them by hand, and long lists have `@FILE`.
const MOST_BYTES: usize = 16 << 20;

/// The YAML scanner's time grows with the square of the depth; nothing here needs even ten levels.
const MOST_BRACKETS: usize = 1000;

/// Reads the file at `path` as text.
pub(super) fn read(path: &Path) -> Result<String, Errors> {
    let problem = |complaint| Errors::from(Problem::of_file(path, complaint));

    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| problem(unreadable(&error)))?;
    if bytes.len() > MOST_BYTES {
        return Err(problem(too_large()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        let complaint = Complaint::new("is not text in UTF-8", "save the file as UTF-8");
        Problem {
            line: Some(line),
            ..Problem::of_file(path, complaint)
        }
        .into()
    })
}

/// What is wrong with a file that cannot be opened or read.
pub(super) fn unreadable(error: &io::Error) -> Complaint {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "let the user that runs pony read it, and its folders",
        io::ErrorKind::IsADirectory => "name the file in this folder",
        _ => "check the path and the disk",
    };
    Complaint::new(format!("cannot be read: {error}"), remedy)
}

/// Reads the only document of `text`.
pub(super) fn parse(text: &str, file: &Path) -> Result<Node, Errors> {
    let problem = |line, complaint| {
        Errors::from(Problem {
            line,
            ..Problem::of_file(file, complaint)
        })
    };
    if text.len() > MOST_BYTES {
        return Err(problem(None, too_large()));
    }
    if let Some(line) = bracket_overflow(text) {
        let remedy = "check for brackets that are never closed";
        return Err(problem(
            Some(line),
            Complaint::new("is nested too deeply", remedy),
        ));
    }

    let mut documents = Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Err(problem(None, Complaint::new("is empty", EMPTY_REMEDY)));
    };
    let root = ReadNode(&Tally::default())
        .deserialize(first)
        .map_err(|error| syntax_problem(&error, text, file))?;
    match documents.next() {
        None => Ok(root),
        Some(_) => Err(problem(second_document(text), more_than_one())),
    }
}

/// What to do about a file without content.
pub(super) const EMPTY_REMEDY: &str =
    "begin with `server:`, `logging:` and `listeners:`, as in configs/quickstart.yaml";

fn too_large() -> Complaint {
    Complaint::new(
        format!("is larger than {} MiB", MOST_BYTES >> 20),
        "move long lists of addresses into files of their own and name them as \"@FILE\"",
    )
}

fn more_than_one() -> Complaint {
    Complaint::new(
        "holds more than one YAML document",
        "keep one; `---` may only stand before the first key",
    )
}

/// The line of the marker before the second document.
fn second_document(text: &str) -> Option<usize> {
    let is_marker = |line: &str| line == "---" || line.starts_with("--- ");
    let is_content = |line: &str| !line.is_empty() && !line.starts_with(['#', '%']);
    let mut seen_content = false;
    for (number, line) in (1..).zip(text.lines()) {
        if is_marker(line.trim_end()) {
            if seen_content {
                return Some(number);
            }
            seen_content = line.trim_end() != "---";
        } else if is_content(line.trim()) {
            seen_content = true;
        }
    }
    None
}

/// The line on which too many brackets are open.
fn bracket_overflow(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > MOST_BRACKETS {
                return Some(number);
            }
        }
    }
    None
}

fn syntax_problem(error: &serde_yaml::Error, text: &str, file: &Path) -> Problem {
    let location = error.location();
    let described = describe(error);
    let complaint = if described.contains(TOO_MUCH) || described.contains("repetition limit") {
        Complaint::new(
            TOO_MUCH,
            "move long lists of addresses into files and name them as \"@FILE\"",
        )
    } else if described.contains("recursion limit") {
        Complaint::new(
            "is nested too deeply",
            "check the indentation, and aliases to themselves",
        )
    } else {
        let line = location
            .as_ref()
            .and_then(|at| text.lines().nth(at.line() - 1));
        let column = location.as_ref().map_or(0, |at| at.column() - 1);
        Complaint::new(
            format!("is not valid YAML: {described}"),
            syntax_hint(line.unwrap_or_default(), column),
        )
    };
    Problem {
        line: location.map(|at| at.line()),
        ..Problem::of_file(file, complaint)
    }
}

/// The reader's words without the position, which stands before them already.
fn describe(error: &serde_yaml::Error) -> String {
    let words = error.to_string();
    match error.location() {
        Some(at) => words.replace(
            &format!(" at line {} column {}", at.line(), at.column()),
            "",
        ),
        None => words,
    }
}

/// What the usual cause is, judged by the line where reading failed.
fn syntax_hint(line: &str, column: usize) -> String {
    let stopped_at: String = line
        .chars()
        .skip(column)
        .take_while(|c| !",]} \t".contains(*c))
        .collect();
    let value = line.trim_start().trim_start_matches("- ");
    let value = value
        .split_once(": ")
        .map_or(value, |(_, value)| value)
        .trim();
    if line.chars().take(column + 1).any(|c| c == '\t') {
        return "indent with spaces, not with tabs".to_owned();
    }
    if stopped_at.starts_with(['@', '`', '%']) {
        return format!("put the value in quotes: \"{stopped_at}\"");
    }
    if value.starts_with(['@', '*', '&', '!', '%', '`', '[']) && !value.contains('"') {
        return format!("put the value in quotes: \"{value}\"");
    }
    "check the indentation, quotes, brackets and colons here and in the lines above".to_owned()
}

#[cfg(test)]
mod tests;
