//! Where clients are forwarded to, and from which address.

use super::*;

fn listener_of(edits: &[(&str, &str)]) -> Listener {
    config_of(&file_with(edits)).listeners.remove(0)
}

#[test]
fn without_a_word_targets_see_our_address() {
    let listener = listener_of(&[]);
    assert_eq!(listener.source, Source::default());
    assert_eq!(listener.source.preserve, None);
    assert_eq!(listener.target_v6, None);
}

#[test]
fn every_key_of_the_source_is_read() {
    let listener = listener_of(&[
        ("target_address", "a.example"),
        ("target_address_v6", "'[2001:db8::1]:http'"),
        ("preserve_source", "yes"),
        ("preserve_source_port", "Required"),
        ("routing", "manual"),
        ("mark", "0x10"),
    ]);
    let source = Source {
        preserve: Some(SourcePort::Required),
        routing: Routing::Manual,
        mark: Some(16),
    };
    assert_eq!(listener.source, source);
    assert_eq!(listener.target.to_string(), "a.example");
    assert_eq!(listener.target_v6.unwrap().to_string(), "[2001:db8::1]:80");
}

#[test]
fn the_port_is_kept_where_that_can_be_unless_told_otherwise_and_mark_0_is_none() {
    let listener = listener_of(&[("preserve_source", "true"), ("mark", "0")]);
    let source = Source {
        preserve: Some(SourcePort::Preferred),
        routing: Routing::Auto,
        mark: None,
    };
    assert_eq!(listener.source, source);
}

#[test]
fn a_target_without_a_port_is_the_listener_itself_only_where_its_address_is_one_of_the_listeners() {
    let rows = [
        ("127.0.0.1:1000", "127.0.0.1", 1),
        ("127.0.0.1:1000", "127.0.0.2", 0),
        ("0.0.0.0:1000", "127.0.0.1", 1),
        ("'0.0.0.0:1000'", "'[::1]'", 0),
        ("'[::]:1000'", "127.0.0.1", 1),
        ("':1000'", "'[::1]'", 1),
        ("':1000'", "192.0.2.1", 0),
        ("':1000'", "localhost", 0),
    ];
    for (listen, target, count) in rows {
        let text = file_with(&[("listen_address", listen), ("target_address", target)]);
        assert_eq!(warnings_of(&text).len(), count, "{listen} {target}");
    }
}
