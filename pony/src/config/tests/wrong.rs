//! Every way in which the value of a key can be wrong, with exactly what is said about it.

use super::{file_with, load_text, rows};

#[test]
fn every_wrong_value_is_answered_with_key_line_value_and_remedy() {
    let rows = rows(include_str!("wrong.txt"));
    assert!(rows.len() > 100, "{} rows", rows.len());
    for (edits, answer) in rows {
        let errors = load_text(&file_with(&edits)).expect_err(&answer);
        assert_eq!(errors.to_string(), answer, "{edits:?}");
    }
}
