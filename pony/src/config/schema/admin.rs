//! The `admin` block: the control socket, and what may be done there.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::model::{Admin, ControlSocket};
use crate::config::node::Kind;
use crate::config::problem::Complaint;
use crate::config::reader::Entry;

pub(super) const KEYS: &[&str] = &["socket", "max_bans"];

/// Up to some 40 MB. The whole list is gone through for each change.
const BANS: RangeInclusive<u64> = 1..=100_000;

/// What the kernel takes for a path (`sun_path`), with the zero at its end.
const MOST_PATH: usize = 107;

const SOCKET_REMEDY: &str = "write auto, off, or a path such as \"/run/packetpony/control.sock\"";

pub(super) fn check(entry: &Entry<'_>) -> Option<Admin> {
    let section = entry.section(KEYS)?;
    let defaults = Admin::default();
    let socket = match section.get("socket") {
        Some(entry) => check_socket(&entry),
        None => Some(defaults.socket),
    };
    let max_bans = match section.get("max_bans") {
        Some(entry) => (entry.integer(BANS)).and_then(|bans| bans.try_into().ok()),
        None => Some(defaults.max_bans),
    };
    Some(Admin {
        socket: socket?,
        max_bans: max_bans?,
    })
}

/// `off` is a boolean in YAML 1.1 and text in YAML 1.2, so every way to say no means it.
fn check_socket(entry: &Entry<'_>) -> Option<ControlSocket> {
    if let Kind::Bool(value) = &entry.node.kind {
        return Some(if *value {
            ControlSocket::Auto
        } else {
            ControlSocket::Off
        });
    }
    let text = entry.text()?;
    match text.to_ascii_lowercase().as_str() {
        "off" | "no" | "false" => return Some(ControlSocket::Off),
        "auto" | "on" | "yes" | "true" => return Some(ControlSocket::Auto),
        _ => {}
    }
    let complaint = if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        Complaint::new("is not the path of a socket", SOCKET_REMEDY)
    } else if text.len() > MOST_PATH {
        let remedy = format!("write a path of at most {MOST_PATH} bytes");
        Complaint::new("is too long for the path of a socket", remedy)
    } else {
        return Some(ControlSocket::At(PathBuf::from(text)));
    };
    entry.error(complaint);
    None
}
