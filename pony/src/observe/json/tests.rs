use super::*;
use crate::observe::{
    event::EventKind,
    fixture::{event, local_time, message, open, v6},
};

fn text(record: &Record) -> String {
    let mut out = Vec::new();
    append(&mut out, record).unwrap();
    String::from_utf8(out).unwrap()
}

fn flow(event: FlowEvent) -> String {
    text(&Record::Flow(event))
}

/// The timestamp that all fixtures have, with the zone of this machine.
fn stamp() -> String {
    let stamp = local_time().to_rfc3339_opts(SecondsFormat::Nanos, true);
    assert!(
        stamp.starts_with("2026-01-07T10:38:44.123456789"),
        "{stamp}"
    );
    stamp
}

#[test]
fn a_tcp_event_has_the_documented_keys_in_their_order() {
    assert_eq!(
        flow(event(EventKind::Close, Protocol::Tcp)),
        format!(
            concat!(
                r#"{{"timestamp":"{}","listener_name":"ssh-test","protocol":"tcp","#,
                r#""source_ip":"127.0.0.1","source_port":49500,"#,
                r#""target_ip":"127.0.0.1","target_port":22,"event_type":"close","#,
                r#""bytes_sent":1024,"bytes_received":29,"duration_ms":120016}}"#
            ),
            stamp()
        )
    );
}

#[test]
fn a_udp_event_counts_packets_and_tells_its_error() {
    let event = FlowEvent {
        error: Some("a > b".to_owned()),
        ..event(EventKind::Update, Protocol::Udp)
    };
    assert_eq!(
        flow(event),
        format!(
            concat!(
                r#"{{"timestamp":"{}","listener_name":"ssh-test","protocol":"udp","#,
                r#""source_ip":"127.0.0.1","source_port":49500,"#,
                r#""target_ip":"127.0.0.1","target_port":22,"event_type":"update","#,
                r#""bytes_sent":1024,"bytes_received":29,"packets_sent":3,"packets_received":4,"#,
                r#""duration_ms":120016,"error":"a > b"}}"#
            ),
            stamp()
        )
    );
}

#[test]
fn an_open_event_has_zeros_and_no_packets() {
    let text = flow(open(Protocol::Udp));
    let end = r#""event_type":"open","bytes_sent":0,"bytes_received":0,"duration_ms":0}"#;
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn ipv6_addresses_have_no_brackets_of_their_own() {
    let text = flow(v6(EventKind::Open));
    let ends = concat!(
        r#""source_ip":"::1","source_port":43398,"#,
        r#""target_ip":"2001:db8::7","target_port":443,"#
    );
    assert!(text.contains(ends), "{text}");
}

#[test]
fn a_message_has_time_level_text_and_its_fields_in_their_order() {
    let message = message(Severity::Warning, "Accept error")
        .with("zebra", "a b")
        .with("count", 3)
        .with("level", "mine");
    assert_eq!(
        text(&Record::Message(message)),
        format!(
            concat!(
                r#"{{"timestamp":"{}","level":"warning","message":"Accept error","#,
                r#""zebra":"a b","count":3,"level_":"mine"}}"#
            ),
            stamp()
        )
    );
}

#[test]
fn nothing_from_outside_can_forge_a_line_or_reach_a_terminal() {
    let attack = "\"}\n{\"level\":\"info\"}\u{1b}[2K\u{7f}\u{9b}1A\u{202e}end";
    let event = FlowEvent {
        listener: attack.into(),
        error: Some(attack.to_owned()),
        ..event(EventKind::Close, Protocol::Tcp)
    };
    let text = flow(event);
    assert!(!text.contains(is_harmful), "{text:?}");
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["error"], attack, "nothing is lost either");
    assert_eq!(read["listener_name"], attack);
}

#[test]
fn a_field_that_is_too_long_is_cut() {
    let message = message(Severity::Info, "text").with("field", "x".repeat(1 << 20));
    assert!(text(&Record::Message(message)).len() < 8 << 10);
}
