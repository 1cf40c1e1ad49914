use super::*;
use crate::{
    config::{Host, HostPort},
    observe::fixture::{event, message, open, v6},
};

fn flow(event: FlowEvent) -> (String, String) {
    let record = Record::Flow(event);
    (Line(&record).to_string(), SyslogText(&record).to_string())
}

#[test]
fn an_open_event_names_both_ends() {
    let (stdout, syslog) = flow(open(Protocol::Tcp));
    assert_eq!(
        stdout,
        "[2026-01-07 10:38:44] Connection opened: listener=ssh-test protocol=tcp \
         src=127.0.0.1:49500 dst=127.0.0.1:22"
    );
    assert_eq!(
        syslog,
        "listener=ssh-test proto=tcp event=open src=127.0.0.1:49500 dst=127.0.0.1:22"
    );
}

#[test]
fn a_close_event_has_figures() {
    let (stdout, syslog) = flow(event(EventKind::Close, Protocol::Tcp));
    assert_eq!(
        stdout,
        "[2026-01-07 10:38:44] Connection closed: listener=ssh-test protocol=tcp \
         src=127.0.0.1:49500 dst=127.0.0.1:22 duration=120016ms bytes_sent=1024 bytes_recv=29"
    );
    assert_eq!(
        syslog,
        "listener=ssh-test proto=tcp event=close src=127.0.0.1:49500 dst=127.0.0.1:22 \
         duration=120016ms bytes_sent=1024 bytes_recv=29"
    );
}

#[test]
fn an_update_event_says_so_and_has_figures() {
    let (stdout, syslog) = flow(event(EventKind::Update, Protocol::Udp));
    assert_eq!(
        stdout,
        "[2026-01-07 10:38:44] Connection updated: listener=ssh-test protocol=udp \
         src=127.0.0.1:49500 dst=127.0.0.1:22 duration=120016ms bytes_sent=1024 bytes_recv=29 \
         pkts_sent=3 pkts_recv=4"
    );
    assert_eq!(
        syslog,
        "listener=ssh-test proto=udp event=update src=127.0.0.1:49500 dst=127.0.0.1:22 \
         duration=120016ms bytes_sent=1024 bytes_recv=29 pkts_sent=3 pkts_recv=4"
    );
}

#[test]
fn ipv6_addresses_stand_in_brackets() {
    let (stdout, syslog) = flow(v6(EventKind::Open));
    for text in [stdout, syslog] {
        assert!(
            text.ends_with("src=[::1]:43398 dst=[2001:db8::7]:443"),
            "{text}"
        );
    }
}

#[test]
fn a_mapped_client_is_shown_as_ipv4() {
    let (stdout, _) = flow(FlowEvent {
        source: "[::ffff:192.0.2.9]:1234".parse().unwrap(),
        ..open(Protocol::Udp)
    });
    assert!(stdout.contains("src=192.0.2.9:1234 "), "{stdout}");
}

#[test]
fn a_target_is_shown_as_it_is_configured() {
    let target = HostPort {
        host: Host::Name("db.internal".to_owned()),
        port: 5432,
    };
    let (stdout, _) = flow(FlowEvent {
        target: target.into(),
        ..open(Protocol::Tcp)
    });
    assert!(stdout.ends_with("dst=db.internal:5432"), "{stdout}");
}

#[test]
fn an_error_ends_the_line_in_quotes() {
    let (stdout, syslog) = flow(FlowEvent {
        error: Some("reset \"by\" peer".to_owned()),
        ..event(EventKind::Close, Protocol::Udp)
    });
    for text in [stdout, syslog] {
        assert!(
            text.ends_with(r#"pkts_recv=4 error="reset \"by\" peer""#),
            "{text}"
        );
    }
}

#[test]
fn a_message_has_time_level_and_its_fields_in_their_order() {
    for (severity, level) in [
        (Severity::Debug, "DEBUG"),
        (Severity::Info, "INFO"),
        (Severity::Warning, "WARNING"),
        (Severity::Error, "ERROR"),
    ] {
        let message = message(severity, "All listeners started")
            .with("zone", "b a")
            .with("count", 3)
            .with("address", "[::]:8080")
            .with("error", "refused");
        let record = Record::Message(message);
        assert_eq!(
            Line(&record).to_string(),
            format!(
                "[2026-01-07 10:38:44] [{level}] All listeners started zone=\"b a\" count=3 \
                 address=[::]:8080 error=\"refused\""
            )
        );
        assert_eq!(
            SyslogText(&record).to_string(),
            "All listeners started zone=\"b a\" count=3 address=[::]:8080 error=\"refused\""
        );
    }
}

#[test]
fn nothing_from_outside_can_forge_a_line() {
    let attack = "x\n[2026-01-07 10:38:44] [INFO] all is well\u{1b}[2K\r\u{9b}1A";
    let event = FlowEvent {
        listener: attack.into(),
        target: HostPort {
            host: Host::Name(attack.to_owned()),
            port: 1,
        }
        .into(),
        error: Some(attack.to_owned()),
        ..event(EventKind::Close, Protocol::Tcp)
    };
    let mut message = message(Severity::Error, "")
        .with("error", attack)
        .with("name", attack);
    message.text = attack.into();
    for record in [Record::Flow(event), Record::Message(message)] {
        for text in [Line(&record).to_string(), SyslogText(&record).to_string()] {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }
}
