//! The command line: checking files, the original's flags, exit codes.

use std::{
    fs,
    net::TcpListener,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tempfile::TempDir;

use crate::harness::{
    Entry, Launch,
    peers::{connect, echo_target, ping},
    pony,
};

/// A folder with this text as `config.yaml`, and the file's path.
fn file(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn with_listener(listen: &str, target: &str) -> String {
    let entry = Entry::tcp(target).listen(listen);
    format!(
        "server: {{ name: a }}\nlogging: {{ stdout: {{ enabled: true }} }}\nlisteners:\n{entry}"
    )
}

#[test]
fn a_good_file_is_good() {
    let (_folder, file) = file(&with_listener("127.0.0.1:0", "localhost:80"));
    pony(&["check", "-c", &file]).expect(0, &[&file, "1 listener"]);
    pony(&["check", "--offline", "--config", &file]).expect(0, &[&file, "1 listener"]);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_place() {
    let text = "server: { name: a, colour: red }\n\
                logging: { stdout: { enabled: true } }\n\
                listeners:\n\
                - name: web\n  \
                protocol: tpc\n  \
                listen_address: 127.0.0.1:99999\n  \
                target_address: 127.0.0.1:80\n  \
                tcp: { idle_timeout: 60 }\n";
    let (_folder, file) = file(text);
    for command in ["check", "run"] {
        pony(&[command, "-c", &file]).expect(
            2,
            &[
                "server.colour",
                "listeners[0].protocol",
                "tpc",
                "listeners[0].listen_address",
                "99999",
                "listeners[0].tcp.idle_timeout",
                "60s",
                &format!("{file}:5"),
            ],
        );
    }
}

#[test]
fn a_missing_file_is_wrong_usage() {
    for command in ["check", "run"] {
        pony(&[command, "-c", "/no/such/file.yaml"]).expect(2, &["/no/such/file.yaml"]);
    }
}

#[test]
fn check_tries_the_addresses_unless_it_is_offline() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_folder, file) = file(&with_listener(&address, "no-such-host.invalid:80"));
    pony(&["check", "-c", &file]).expect(
        1,
        &[&address, "in use", "target_address", "no-such-host.invalid"],
    );
    pony(&["check", "-c", &file, "--offline"]).expect(0, &[]);
}

#[test]
fn the_originals_flags_run_the_daemon() {
    for flags in [
        &["-config", "FILE"][..],
        &["--config", "FILE"],
        &["-config=FILE"],
    ] {
        let mut pony = Launch::new(&Entry::tcp(echo_target()))
            .arguments(flags)
            .start();
        ping(&mut connect(pony.address("tcp")), b"hello");
        pony.signal("TERM");
        assert_eq!(pony.wait().code(), Some(0));
    }
}

#[test]
fn the_version_is_told() {
    for flag in ["--version", "-V", "-version"] {
        pony(&[flag]).expect(0, &[env!("CARGO_PKG_VERSION")]);
    }
}

#[test]
fn help_is_no_mistake_and_nonsense_is() {
    pony(&["help"]).expect(0, &["run", "check", "demo"]);
    pony(&["help", "run"]).expect(0, &["SIGHUP"]);
    pony(&["check", "--help"]).expect(0, &["--offline"]);
    pony(&[]).expect(2, &["Usage"]);
    pony(&["gallop"]).expect(2, &["gallop"]);
    pony(&["run", "--speed", "high"]).expect(2, &["--speed"]);
}

#[test]
fn mmproxy_explains_itself_and_ends_as_go_mmproxy_does() {
    for flag in ["-h", "-help", "--help"] {
        pony(&["mmproxy", flag]).expect(0, &["--allowed-subnets", "--close-after", "PROXY header"]);
    }
    pony(&["mmproxy", "-listener", "2"]).expect(2, &["--listener"]);
    for (flags, texts) in [
        (&["-p", "sctp"][..], ["sctp", "tcp, udp"]),
        (&["-v", "3"], ["3", "0..=2"]),
        (&["-listeners", "0"], ["0", "1.."]),
        (&["-mark=-1"], ["-1", "--mark"]),
        (&["-l", "0.0.0.0"], ["listen_address", "has no port"]),
        (&["-4", "127.0.0.1:http-no"], ["target_address", "http-no"]),
        (&["-6", "[::1:443"], ["target_address_v6", "[::1:443"]),
        (
            &["-allowed-subnets", "/no/such/file"],
            ["trusted", "/no/such/file"],
        ),
    ] {
        pony(&[&["mmproxy"], flags].concat()).expect(1, &texts);
    }
}

#[test]
fn the_configuration_that_mmproxy_prints_is_a_good_one() {
    let flags = ["-p", "udp", "-v", "2", "-mark", "7", "-dynamic-destination"];
    let printed = pony(&[&["mmproxy", "-print-config"], &flags[..]].concat());
    printed.expect(0, &["dynamic_destination: true", "level: trace"]);
    let (_folder, file) = file(&printed.output);
    pony(&["check", "-c", &file, "--offline"]).expect(0, &[&file, "1 listener"]);
}

#[test]
fn a_test_whose_daemon_does_not_start_fails_with_what_the_daemon_says() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let launch = Launch::new(&Entry::tcp("127.0.0.1:7").listen(address));
    // Nobody sees it afterwards.
    let start = AssertUnwindSafe(|| drop(launch.start()));
    let panic = catch_unwind(start).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.starts_with("pony ended, exit status: 1:\n"), "{text}");
    let reason = format!("cannot listen on tcp {address}");
    assert!(text.contains(&reason), "{text}");
}
