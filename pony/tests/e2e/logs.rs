//! Events and messages on their way to files and syslog.

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use serde_json::Value;

use crate::harness::{
    Entry, Launch, PATIENCE, Pony,
    peers::{connect, echo_target, ping, udp_listener},
    wait_for, wait_until,
};

fn json_lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn has_event(file: &Path, kind: &str) -> bool {
    json_lines(file)
        .iter()
        .any(|line| line["event_type"] == kind)
}

#[test]
fn the_events_of_a_connection_have_the_documented_fields() {
    let target = echo_target();
    let pony = Pony::start(&Entry::tcp(target));
    let mut client = connect(pony.address("tcp"));
    let local = client.local_addr().unwrap();
    ping(&mut client, b"hello");
    drop(client);
    let close = pony.closes_with("");
    let open = pony.events("open").remove(0);
    for event in [&open, &close] {
        assert_eq!(event["listener_name"], "tcp");
        assert_eq!(event["protocol"], "tcp");
        assert_eq!(event["source_ip"], "127.0.0.1");
        assert_eq!(event["source_port"], local.port());
        assert_eq!(event["target_ip"], "127.0.0.1");
        assert_eq!(event["target_port"], target.port());
        assert!(event["timestamp"].is_string());
        assert!(event.get("error").is_none() && event.get("packets_sent").is_none());
    }
    assert_eq!(
        (&open["bytes_sent"], &open["duration_ms"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        (&close["bytes_sent"], &close["bytes_received"]),
        (&5.into(), &5.into())
    );
}

#[test]
fn a_connection_with_a_logging_block_has_updates_with_figures() {
    let entry = Entry::tcp(echo_target()).tcp_keys("logging: { periodic_log_bytes: 100 }");
    let pony = Pony::start(&entry);
    let mut client = connect(pony.address("tcp"));
    ping(&mut client, &[7; 60]);
    let update = wait_for("an update", || pony.events("update").pop());
    assert_eq!(
        (&update["bytes_sent"], &update["bytes_received"]),
        (&60.into(), &60.into())
    );
    assert!(pony.events("close").is_empty());
}

#[test]
fn the_json_file_is_opened_anew_on_sighup_and_after_it_was_moved_away() {
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .logging("jsonlog: { enabled: true, path: FOLDER/events.json }")
        .start();
    let file = pony.folder().join("events.json");
    ping(&mut connect(pony.address("tcp")), b"one");
    wait_until("the close event in the file", || has_event(&file, "close"));

    let rotated = pony.folder().join("events.json.1");
    fs::rename(&file, &rotated).unwrap();
    pony.signal("HUP");
    wait_until("a new file", || file.exists());
    ping(&mut connect(pony.address("tcp")), b"two");
    wait_until("the close event in the new file", || {
        has_event(&file, "close")
    });

    let moved = pony.folder().join("events.json.2");
    fs::rename(&file, &moved).unwrap();
    wait_until("a new file without being told", || {
        ping(&mut connect(pony.address("tcp")), b"more");
        has_event(&file, "close")
    });
    let all: usize = [&rotated, &moved]
        .iter()
        .map(|file| json_lines(file).len())
        .sum();
    assert!(all > 4, "the old files keep what they had");
}

#[test]
fn a_json_file_that_cannot_be_made_is_a_failed_start() {
    Launch::new(&Entry::tcp(echo_target()))
        .logging("jsonlog: { enabled: true, path: FOLDER/missing/events.json }")
        .finish()
        .expect(1, &["missing/events.json"]);
}

#[test]
fn syslog_receives_events_over_udp() {
    let (receiver, address) = udp_listener();
    let syslog =
        format!("syslog: {{ enabled: true, network: udp, address: \"{address}\", tag: pp }}");
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .logging(&syslog)
        .start();
    ping(&mut connect(pony.address("tcp")), b"hello");
    let mut buffer = [0; 4096];
    let line = wait_for("a close event at the syslog server", || {
        let len = receiver.recv(&mut buffer).unwrap();
        let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
        line.contains("event=close").then_some(line)
    });
    assert!(line.starts_with("<30>") && line.contains(" pp["), "{line}");
    assert!(
        line.contains("listener=tcp proto=tcp") && line.contains("bytes_sent=5"),
        "{line}"
    );
}

#[test]
fn syslog_receives_warnings_only_over_its_unix_socket_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let receiver = UnixDatagram::bind(&path).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let syslog = format!(
        "syslog: {{ enabled: true, network: unix, address: \"{}\", priority: warning }}",
        path.display()
    );
    let entry = Entry::tcp(crate::harness::peers::closed_port());
    let pony = Launch::new(&entry).logging(&syslog).start();
    drop(connect(pony.address("tcp")));
    let mut buffer = [0; 4096];
    let len = receiver.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
    assert!(
        line.starts_with("<27>") || line.starts_with("<28>"),
        "{line}"
    );
}
