//! The `metrics` block.

use super::listener::listen_address;
use super::places::{Owner, Places};
use crate::config::model::{MetricsEndpoint, Protocol};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

pub(super) const KEYS: &[&str] = &["prometheus"];
pub(super) const PROMETHEUS_KEYS: &[&str] = &["enabled", "listen_address", "path"];

const DEFAULT_PATH: &str = "/metrics";
const HEALTH_PATHS: [&str; 3] = ["/health", "/healthz", "/ready"];

pub(super) fn check<'a>(entry: &Entry<'a>, places: &mut Places<'a>) -> Option<MetricsEndpoint> {
    let block = entry
        .section(KEYS)?
        .get("prometheus")?
        .section(PROMETHEUS_KEYS)?;
    let is_enabled = block.is_enabled();

    let listen = listen_entry(&block, is_enabled);
    let address = listen
        .as_ref()
        .and_then(|entry| listen_address(entry, Protocol::Tcp));
    if let (true, Some(entry), Some(address)) = (is_enabled, listen, &address) {
        places.add(Owner::Metrics, (Protocol::Tcp, None), address, entry);
    }
    let path = match block.get("path") {
        Some(entry) => check_path(&entry),
        None => Some(DEFAULT_PATH.to_owned()),
    };
    let endpoint = MetricsEndpoint {
        listen: address?,
        path: path?,
    };
    is_enabled.then_some(endpoint)
}

fn listen_entry<'a>(block: &Section<'a>, is_enabled: bool) -> Option<Entry<'a>> {
    let remedy = "write where to listen, such as \"127.0.0.1:9090\"";
    if is_enabled {
        block.require("listen_address", remedy)
    } else {
        block.get("listen_address")
    }
}

fn check_path(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"?#%".contains(c);
    let complaint = if !text.starts_with('/') {
        Complaint::new(
            "does not begin with /",
            format!("write \"/{}\"", text.trim()),
        )
    } else if HEALTH_PATHS.contains(&text) {
        Complaint::new(
            "is the path of a health check",
            "write another path, such as \"/metrics\"",
        )
    } else if !text.chars().all(is_plain) {
        Complaint::new(
            "is not a plain path",
            "write a path without spaces, ?, # and %, such as \"/metrics\"",
        )
    } else {
        return Some(text.to_owned());
    };
    entry.error(complaint);
    None
}
