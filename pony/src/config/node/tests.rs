use super::*;

fn read(text: &str) -> Node {
    let document = serde_yaml::Deserializer::from_str(text).next().unwrap();
    ReadNode(&Tally::default()).deserialize(document).unwrap()
}

#[test]
fn scalars_keep_their_kind() {
    let rows = [
        ("~", Kind::Null),
        ("true", Kind::Bool(true)),
        ("yes", Kind::Text("yes".to_owned())),
        ("5", Kind::Int(5)),
        ("-5", Kind::Int(-5)),
        ("18446744073709551616", Kind::Int(1 << 64)),
        ("-9223372036854775809", Kind::Int(-(1 << 63) - 1)),
        (
            "340282366920938463463374607431768211455",
            Kind::Int(i128::MAX),
        ),
        ("1.5", Kind::Float(1.5)),
        ("\"5\"", Kind::Text("5".to_owned())),
        ("!tag 5", Kind::Int(5)),
        ("!!str 5", Kind::Text("5".to_owned())),
        ("1m", Kind::Text("1m".to_owned())),
    ];
    for (text, kind) in rows {
        assert_eq!(read(text).kind, kind, "{text}");
    }
}

#[test]
fn duplicate_and_merge_keys_survive_in_order() {
    let Kind::Map(members) = read("a: 1\n<<: {b: 2}\na: 3\n").kind else {
        panic!()
    };
    let keys: Vec<_> = members
        .iter()
        .map(|(key, _)| key.kind.shown().unwrap())
        .collect();
    assert_eq!(keys, ["a", "<<", "a"]);
}

#[test]
fn nodes_are_numbered_in_the_order_of_the_file() {
    let root = read("a: [x, y]\nb: z\n");
    let Kind::Map(members) = &root.kind else {
        panic!()
    };
    let Kind::List(items) = &members[0].1.kind else {
        panic!()
    };
    let ids = [
        root.id,
        members[0].0.id,
        members[0].1.id,
        items[0].id,
        items[1].id,
        members[1].0.id,
    ];
    assert_eq!(ids, [0, 1, 2, 3, 4, 5]);
}
