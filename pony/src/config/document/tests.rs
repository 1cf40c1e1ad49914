use super::*;

#[test]
fn brackets_in_comments_and_closed_ones_do_not_count() {
    let comments = "# [ { [\n".repeat(5000);
    let closed = "a: [[{}], {}]\n".repeat(5000);
    assert_eq!(bracket_overflow(&format!("{comments}{closed}")), None);
    assert_eq!(
        bracket_overflow(&format!("x: 1\n{}", "{".repeat(MOST_BRACKETS + 1))),
        Some(2)
    );
}

#[test]
fn the_second_document_is_found_by_its_marker() {
    assert_eq!(second_document("a: 1\n---\nb: 1\n"), Some(2));
    assert_eq!(second_document("# x\n---\na: 1\n\n---\n"), Some(5));
    assert_eq!(second_document("--- a\n--- b\n"), Some(2));
    assert_eq!(second_document("a: 1\n"), None);
}

#[test]
fn a_text_beyond_the_largest_size_is_refused() {
    let text = "#".repeat(MOST_BYTES + 1);
    assert!(
        parse(&text, Path::new("a")).unwrap_err().problems[0]
            .message
            .contains("larger than 16 MiB")
    );
}
