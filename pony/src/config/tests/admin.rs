//! The control socket.

use std::path::PathBuf;

use super::*;

#[test]
fn the_control_socket_is_in_its_usual_place_or_elsewhere_or_off() {
    let elsewhere = ControlSocket::At(PathBuf::from("/run/Pony.sock"));
    let rows = [
        ("", ControlSocket::Auto, 10_000),
        ("{socket: auto}", ControlSocket::Auto, 10_000),
        ("{socket: \"off\"}", ControlSocket::Off, 10_000),
        ("{socket: off, max_bans: 5}", ControlSocket::Off, 5),
        ("{socket: No}", ControlSocket::Off, 10_000),
        ("{socket: false}", ControlSocket::Off, 10_000),
        ("{socket: true}", ControlSocket::Auto, 10_000),
        ("{socket: /run/Pony.sock}", elsewhere, 10_000),
    ];
    for (value, socket, max_bans) in rows {
        let admin = config_of(&file_with(&[("admin", value)])).admin;
        assert_eq!(admin, Admin { socket, max_bans }, "{value}");
    }
}

#[test]
fn what_cannot_be_a_control_socket_is_told_with_what_to_write() {
    let long = format!("{{socket: /{}}}", "x".repeat(107));
    let rows = [
        ("{socket: pony.sock}", "admin.socket", "such as \"/run/"),
        ("{socket: /run/}", "admin.socket", "such as \"/run/"),
        (&long, "admin.socket", "at most 107 bytes"),
        ("{socket: 7}", "admin.socket", "\"7\""),
        ("{max_bans: 0}", "admin.max_bans", "from 1 to 100000"),
        ("{sockets: off}", "admin.sockets", "socket"),
    ];
    for (value, key, remedy) in rows {
        let problems = problems_of(&file_with(&[("admin", value)]));
        assert_eq!(problems.len(), 1, "{value}: {problems:?}");
        let problem = &problems[0];
        assert_eq!(problem.key, key, "{value}");
        let told = problem.remedy.as_deref().unwrap();
        assert!(told.contains(remedy), "{value}: {told}");
    }
}
