//! What loads, but deserves a second look, with exactly what is said about it.

use super::{file_with, problems_of, rows, warnings_of};

#[test]
fn every_slip_gets_one_warning() {
    let rows = rows(include_str!("warnings.txt"));
    assert!(rows.len() > 15, "{} rows", rows.len());
    for (edits, answer) in rows {
        let warnings = warnings_of(&file_with(&edits));
        let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told, [answer], "{edits:?}");
    }
}

#[test]
fn a_tcp_block_on_a_udp_listener_is_still_checked() {
    let problems = problems_of(&file_with(&[
        ("protocol", "udp"),
        ("tcp", "{keepalive: 1}"),
    ]));
    assert_eq!(problems[0].key, "listeners[0].tcp.keepalive");
}

#[test]
fn a_wrong_entry_does_not_also_make_the_allowlist_empty() {
    let problems = problems_of(&file_with(&[("allowlist", "[home]")]));
    assert_eq!(problems.len(), 1);
}

#[test]
fn warnings_are_bounded() {
    let list = vec!["10.0.0.1/8"; 150].join(", ");
    let warnings = warnings_of(&file_with(&[("denylist", &format!("[{list}]"))]));
    assert_eq!(warnings.len(), 101);
    assert!(warnings[100].message.contains("deserves 50 more warnings"));
}
