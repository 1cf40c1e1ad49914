//! What a whole file becomes, and what is said about a wrong one.

use std::path::Path;

use super::*;

mod admin;
mod files;
mod lists;
mod places;
mod robust;
mod shipped;
mod source;
mod values;
mod warnings;
mod wrong;

/// A file that loads without warnings: one line for each key that the tests change.
const BASE: [(&str, &str); 24] = [
    ("server", "server: {name: here}"),
    ("logging", "logging: {stdout: {enabled: true}}"),
    ("metrics", "metrics:"),
    ("guard", "guard:"),
    ("listeners", "listeners:"),
    ("name", "- name: web"),
    ("protocol", "  protocol: tcp"),
    ("listen_address", "  listen_address: 127.0.0.1:1000"),
    ("target_address", "  target_address: 127.0.0.1:2000"),
    ("allowlist", "  allowlist: [\"0.0.0.0/0\"]"),
    ("denylist", "  denylist:"),
    ("exempt", "  exempt:"),
    ("rate_limits", "  rate_limits:"),
    ("tcp", "  tcp:"),
    ("udp", "  udp:"),
    ("target_address_v6", "  target_address_v6:"),
    ("preserve_source", "  preserve_source:"),
    ("preserve_source_port", "  preserve_source_port:"),
    ("routing", "  routing:"),
    ("mark", "  mark:"),
    ("dynamic_destination", "  dynamic_destination:"),
    ("allowed_destinations", "  allowed_destinations:"),
    ("proxy_protocol", "  proxy_protocol:"),
    ("admin", "admin:"),
];

const FILE: &str = "pony.yaml";

/// The line of `key` in [`BASE`].
fn line_of(key: &str) -> usize {
    1 + BASE
        .iter()
        .position(|(name, _)| *name == key)
        .expect("a key of the base")
}

/// [`BASE`] with other values for some keys.
fn file_with(edits: &[(&str, &str)]) -> String {
    let line_with = |(key, line): &(&str, &str)| match edits.iter().find(|(name, _)| name == key) {
        Some((_, value)) => {
            let indent = line.len() - line.trim_start_matches([' ', '-']).len();
            format!("{}{key}: {value}\n", &line[..indent])
        }
        None => format!("{line}\n"),
    };
    BASE.iter().map(line_with).collect::<Vec<_>>().concat()
}

/// A row of a table of answers: the lines that replace those of [`BASE`], and the whole answer.
type Row = (Vec<(&'static str, &'static str)>, String);

/// The rows of a text like `wrong.txt`.
fn rows(text: &'static str) -> Vec<Row> {
    text.split("\n\n").filter_map(row).collect()
}

fn row(block: &'static str) -> Option<Row> {
    let lines = block.lines().filter(|line| !line.starts_with('#'));
    let (edits, answer): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('>'));
    let edit = |line: &&'static str| {
        let (key, value) = line.strip_prefix("> ")?.split_once(':')?;
        Some((key, value.trim_start()))
    };
    let edits: Vec<_> = edits.iter().map(|line| edit(line).expect(line)).collect();
    (!edits.is_empty()).then(|| (edits, answer.join("\n")))
}

fn load_text(text: &str) -> Result<Loaded, Errors> {
    parse(text, Path::new(FILE))
}

/// The configuration of a file that must load.
fn config_of(text: &str) -> Config {
    load_text(text)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
        .config
}

/// The problems of a file that must not load.
fn problems_of(text: &str) -> Vec<Problem> {
    match load_text(text) {
        Ok(_) => panic!("this should not load:\n{text}"),
        Err(errors) => errors.problems,
    }
}

fn warnings_of(text: &str) -> Vec<Problem> {
    load_text(text)
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"))
        .warnings
}

#[test]
fn the_base_of_the_tests_loads_without_warnings() {
    let loaded = load_text(&file_with(&[])).unwrap();
    assert_eq!(loaded.warnings, []);
}
