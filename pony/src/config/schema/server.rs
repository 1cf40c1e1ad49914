//! The `server` block.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::label;
use crate::config::model::Server;
use crate::config::reader::Section;

pub(super) const KEYS: &[&str] = &["name", "shutdown_timeout", "resolve_ttl", "threads"];

const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
const RESOLVE_TTL: Duration = Duration::from_secs(30);

/// More than any machine has processors for.
const THREADS: RangeInclusive<u64> = 1..=1024;

const NAME_REMEDY: &str = "write a name for this instance, such as `name: \"packetpony-01\"`";

pub(super) fn check(top: &Section<'_>) -> Option<Server> {
    let remedy = "write `server:` with a `name:` below it";
    let section = top.require("server", remedy)?.section(KEYS)?;

    let name = section
        .require("name", NAME_REMEDY)
        .and_then(|entry| label(&entry));
    let shutdown_timeout = section
        .get("shutdown_timeout")
        .map(|entry| entry.duration());
    let resolve_ttl = section.get("resolve_ttl").map(|entry| entry.duration());
    let threads = match section.get("threads") {
        Some(entry) => Some(usize::try_from(entry.integer(THREADS)?).ok()?),
        None => None,
    };
    Some(Server {
        name: name?,
        shutdown_timeout: shutdown_timeout.unwrap_or(Some(SHUTDOWN_TIMEOUT))?,
        resolve_ttl: resolve_ttl.unwrap_or(Some(RESOLVE_TTL))?,
        threads,
    })
}
