use std::fmt::Write as _;

use proptest::prelude::*;
use serde::de::DeserializeSeed;

use super::*;
use crate::config::node::{Kind, Node, ReadNode, Tally};

fn root_of(text: &str) -> Node {
    let document = serde_yaml::Deserializer::from_str(text).next().unwrap();
    ReadNode(&Tally::default()).deserialize(document).unwrap()
}

/// The value of every scalar node that is a number, with the line where it was found.
fn located(node: &Node, lines: &Lines, found: &mut Vec<(i128, usize)>) {
    match &node.kind {
        Kind::Int(value) => found.push((*value, lines.of(node.id).unwrap())),
        Kind::List(items) => items.iter().for_each(|item| located(item, lines, found)),
        Kind::Map(members) => members.iter().for_each(|(key, value)| {
            located(key, lines, found);
            located(value, lines, found);
        }),
        _ => {}
    }
}

/// In these texts each number is the line that it stands in.
fn check(text: &str) {
    let mut found = Vec::new();
    located(&root_of(text), &Lines::find(text), &mut found);
    assert!(!found.is_empty(), "{text}");
    for (value, line) in found {
        assert_eq!(usize::try_from(value).unwrap(), line, "{text}");
    }
}

#[test]
fn every_node_is_found_on_its_line() {
    check("1");
    check(
        "# comment\n\n3: 3\n4: [4,\n  5, {6: 6,\n7: !tag 7}]\n"
            .replace(", {6: 6", ", {5: 5")
            .replace("7: !tag 7", "6: !tag 6")
            .as_str(),
    );
    check("a:\n- 2\n- 3\nb: !tag [4]\nc:\n  d: {x: !t {y: 6}}\n");
    check("a: &a 1\nb: *a\nc: 3\nd: |\n  text\n  more\ne: 7\n");
    check("\"x\\u0001here at line 9 column 9\": [1]\nb: 2\n");
    check("--- \nä: 2\r\n? 3\r\n: 4\r\n");
}

#[test]
fn a_node_with_members_stands_where_its_first_member_does() {
    let text = "a:\n  - b: 1\n    c: 2\n  - {}\nd: []\n";
    let root = root_of(text);
    let lines = Lines::find(text);
    let Kind::Map(members) = &root.kind else {
        panic!()
    };
    let Kind::List(items) = &members[0].1.kind else {
        panic!()
    };
    assert_eq!(lines.of(root.id), Some(1));
    assert_eq!(lines.of(items[0].id), Some(2));
    // Nothing marks the place of an empty one; what precedes it is near.
    assert_eq!(lines.of(items[1].id), Some(3));
    assert_eq!(lines.of(members[1].1.id), Some(5));
}

#[test]
fn unknown_nodes_and_broken_texts_have_no_line() {
    assert_eq!(Lines::default().of(0), None);
    assert_eq!(Lines::find("a: 1").of(99), None);
    assert_eq!(Lines::find("a: [1").of(0), None);
}

proptest! {
    #[test]
    fn numbers_are_found_wherever_they_stand(gaps in prop::collection::vec(0_usize..4, 1..40)) {
        let mut text = String::new();
        let mut line = 1;
        for gap in gaps {
            text.push_str(&"\n".repeat(gap));
            line += gap;
            writeln!(text, "- {{k: {line}}}").unwrap();
            line += 1;
        }
        check(&text);
    }
}
