//! The control socket: whose it is, who is answered, and what becomes of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
    thread,
};

use rustix::{process::Uid, thread::set_thread_uid};

use crate::harness::{
    Entry, Launch,
    peers::{connect, echo_target, ping},
    pony,
};

fn entry() -> Entry {
    Entry::tcp(echo_target())
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_daemon() {
    let mut pony = Launch::new(&entry()).control().start();
    let path = pony.control();
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    pony.message_where("Control socket ready", |line| {
        line["path"] == path.to_str().unwrap()
    });
    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn without_a_socket_nobody_is_answered_and_the_proxy_works() {
    let pony = Launch::new(&entry()).start();
    ping(&mut connect(pony.address("tcp")), b"hello");
    assert!(!pony.control().exists());
    pony.ask(&["bans"]).expect(
        1,
        &["no answer from the control socket", "does the daemon run?"],
    );
}

#[test]
fn another_user_is_turned_away_also_when_the_file_is_open_to_all() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("skipped, needs root");
        return;
    }
    let pony = Launch::new(&entry()).control().start();
    let path = pony.control();
    for (path, mode) in [(path.parent().unwrap(), 0o755), (&path, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let as_nobody = thread::spawn(move || {
        // Of this thread alone.
        set_thread_uid(Uid::from_raw(65_534)).unwrap();
        raw(
            &path,
            "DELETE /bans/192.0.2.1 HTTP/1.1\r\nHost: pony\r\n\r\n",
        )
    });
    let answer = as_nobody.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        answer.contains("only root and the user of the daemon"),
        "{answer}"
    );
    pony.message("Control socket: another user was turned away");
    pony.ask(&["bans"]).expect(0, &["nobody is banned"]);
}

/// What is answered to this.
fn raw(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(request.as_bytes()).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8(answer).unwrap()
}

#[test]
fn who_breaks_off_or_talks_nonsense_harms_nobody() {
    let pony = Launch::new(&entry()).control().start();
    let path = pony.control();
    for request in [
        "\0\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20)),
        "PUT /bans HTTP/1.1\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{}"
            .to_owned(),
    ] {
        let answer = raw(&path, &request);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    drop(UnixStream::connect(&path).unwrap());
    let _silent: Vec<_> = (0..100)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    pony.ask(&["ban", "192.0.2.1"]).expect(0, &[]);
}

#[test]
fn the_socket_of_a_daemon_that_died_is_replaced_and_that_of_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.sock");
    let keys = format!("socket: {}", path.display());
    let launch = || Launch::new(&entry()).admin(&keys);
    let mut died = launch().start();
    died.signal("KILL");
    died.wait();
    assert!(path.exists());

    let socket = path.to_str().unwrap();
    let gone = pony(&["bans", "--socket", socket]);
    gone.expect(1, &[socket, "does the daemon run?"]);
    let _living = launch().start();
    launch().finish().expect(
        1,
        &["admin.socket", "another PacketPony answers", "shared.sock"],
    );
    pony(&["bans", "--socket", socket]).expect(0, &["nobody is banned"]);
}

#[test]
fn a_path_that_was_asked_for_and_cannot_be_had_stops_the_start() {
    let rows = [
        ("socket: FOLDER/none/x.sock", "in a folder that is there"),
        ("socket: FOLDER", "is no socket: remove it"),
    ];
    for (keys, remedy) in rows {
        for words in [&["run", "-c", "FILE"][..], &["check", "-c", "FILE"]] {
            let launch = Launch::new(&entry()).admin(keys).arguments(words);
            launch.finish().expect(1, &["admin.socket: ", remedy]);
        }
    }
}

#[test]
fn help_says_what_a_ban_is() {
    pony(&["help"]).expect(0, &["ban ", "unban ", "bans "]);
    pony(&["ban", "--help"]).expect(
        0,
        &["--for", "forever", "[default: 1h]", "curl", "denylist"],
    );
    pony(&["bans", "--help"]).expect(0, &["--instance", "--socket", "--json"]);
    let both = pony(&["bans", "--socket", "/x", "--instance", "y"]);
    both.expect(2, &["cannot be used with"]);
}
