//! The `guard` block: the kernel programs.

use std::ops::RangeInclusive;

use crate::config::model::{AttachMode, Guard, GuardMode, Interfaces, Refuse};
use crate::config::node::Kind;
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

pub(super) const KEYS: &[&str] = &[
    "mode",
    "interfaces",
    "attach",
    "refuse",
    "max_clients",
    "max_blocks",
];

const MODES: &[(&str, GuardMode)] = &[
    ("off", GuardMode::Off),
    ("auto", GuardMode::Auto),
    ("require", GuardMode::Require),
];

const ATTACH_MODES: &[(&str, AttachMode)] = &[
    ("auto", AttachMode::Auto),
    ("native", AttachMode::Native),
    ("generic", AttachMode::Generic),
];

const REFUSALS: &[(&str, Refuse)] = &[("drop", Refuse::Drop), ("reset", Refuse::Reset)];

/// From the smallest ledger that forgets nobody by chance to some 3 GB of one.
const CLIENTS: RangeInclusive<u64> = 1_024..=8_388_608;
/// Up to some 100 MB.
const BLOCKS: RangeInclusive<u64> = 1..=1_048_576;

const INTERFACES_REMEDY: &str = "write auto, or a list of interfaces such as [eth0, eth1]";

pub(super) fn check(entry: &Entry<'_>) -> Option<Guard> {
    let section = entry.section(KEYS)?;
    let defaults = Guard::default();
    let mode = match section.get("mode") {
        Some(entry) => check_mode(&entry),
        None => Some(defaults.mode),
    };
    let interfaces = match section.get("interfaces") {
        Some(entry) => check_interfaces(&entry),
        None => Some(defaults.interfaces),
    };
    let attach = match section.get("attach") {
        Some(entry) => entry.word("a way to attach the guard", ATTACH_MODES),
        None => Some(defaults.attach),
    };
    let refuse = match section.get("refuse") {
        Some(entry) => entry.word("a way to refuse", REFUSALS),
        None => Some(defaults.refuse),
    };
    let max_clients = check_size(&section, "max_clients", CLIENTS, defaults.max_clients);
    let max_blocks = check_size(&section, "max_blocks", BLOCKS, defaults.max_blocks);
    Some(Guard {
        mode: mode?,
        interfaces: interfaces?,
        attach: attach?,
        refuse: refuse?,
        max_clients: max_clients?,
        max_blocks: max_blocks?,
        instance: defaults.instance,
        kernel_log: defaults.kernel_log,
    })
}

/// The number of entries of a map.
fn check_size(
    section: &Section<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    default: u32,
) -> Option<u32> {
    match section.get(key) {
        Some(entry) => entry.integer(range)?.try_into().ok(),
        None => Some(default),
    }
}

/// `off` is a boolean in YAML 1.1 and text in YAML 1.2, so every way to say no means it.
fn check_mode(entry: &Entry<'_>) -> Option<GuardMode> {
    let is_no = match &entry.node.kind {
        Kind::Bool(value) => !value,
        Kind::Text(text) => text.eq_ignore_ascii_case("no") || text.eq_ignore_ascii_case("false"),
        _ => false,
    };
    if is_no {
        Some(GuardMode::Off)
    } else {
        entry.word("a mode of the guard", MODES)
    }
}

fn check_interfaces(entry: &Entry<'_>) -> Option<Interfaces> {
    if let Kind::Text(text) = &entry.node.kind {
        if text.eq_ignore_ascii_case("auto") {
            return Some(Interfaces::Auto);
        }
        entry.error(Complaint::new(
            "is not a list of interfaces",
            format!("write auto, or [{text}]"),
        ));
        return None;
    }
    let items = entry.list()?;
    if items.is_empty() {
        entry.error(Complaint::new("is an empty list", INTERFACES_REMEDY));
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for item in &items {
        if let Some(name) = check_name(item)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    Some(Interfaces::Names(names))
}

/// The kernel's rule for the name of an interface (`dev_valid_name`).
fn check_name(entry: &Entry<'_>) -> Option<String> {
    const MOST: usize = 15;
    let text = entry.text()?;
    let is_name = (1..=MOST).contains(&text.len())
        && text != "."
        && text != ".."
        && !text
            .chars()
            .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    let complaint = if text.eq_ignore_ascii_case("auto") {
        Complaint::new(
            "stands in a list of interfaces",
            "write `interfaces: auto`, without a list",
        )
    } else if is_name {
        return Some(text.to_owned());
    } else {
        Complaint::new(
            "is not the name of an interface",
            "write a name that `ip link` shows, such as eth0",
        )
    };
    entry.error(complaint);
    None
}
