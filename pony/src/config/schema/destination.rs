//! The keys of a listener that let PROXY headers say where to.

use crate::config::destination::{self, Destination};
use crate::config::model::ProxyProtocol;
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};

const ALLOWED_REMEDY: &str =
    "list where headers may send clients, such as [\"10.0.0.0/8:8000-9000\"]";

/// Where headers may send clients. `headers` is what is known of those; `None` if they are wrong.
pub(super) fn check(
    section: &Section<'_>,
    headers: Option<&ProxyProtocol>,
) -> Option<Vec<Destination>> {
    let dynamic = section.get("dynamic_destination");
    let is_dynamic = dynamic.as_ref().and_then(Entry::boolean).unwrap_or(false);
    let list = section.get("allowed_destinations");
    let allowed = list.as_ref().map(allowed);
    match (&list, &allowed) {
        (Some(list), _) if !is_dynamic => list.warn(Complaint::new(
            "has no effect without dynamic_destination",
            "add `dynamic_destination: true`, or remove it",
        )),
        (Some(list), Some(Some(allowed))) if allowed.is_empty() => list.warn(Complaint::new(
            "is empty, which allows no destination",
            ALLOWED_REMEDY,
        )),
        _ => {}
    }
    if !is_dynamic {
        return None;
    }
    if list.is_none() {
        let message = "is missing: no destination is allowed without a list";
        section.missing(
            "allowed_destinations",
            Complaint::new(message, ALLOWED_REMEDY),
        );
    }
    if let Some(dynamic) = dynamic
        && headers.is_some_and(|headers| headers.accept.is_none())
    {
        dynamic.error(Complaint::new(
            "takes the destination from PROXY headers, and none are accepted",
            "add `proxy_protocol: { accept: required, trusted: [...] }`, or remove it",
        ));
    }
    Some(allowed.flatten().unwrap_or_default())
}

/// `None` if it is no list.
fn allowed(list: &Entry<'_>) -> Option<Vec<Destination>> {
    let mut allowed = Vec::new();
    for entry in list.list()? {
        let Some(text) = entry.text() else { continue };
        let Some(parsed) = entry.accept(destination::parse(text)) else {
            continue;
        };
        if parsed.was_masked {
            let destination = &parsed.destination;
            entry.warn(Complaint::new(
                format!("has bits behind its prefix; it is used as {destination}"),
                format!("write \"{destination}\", or the address without a length"),
            ));
        }
        allowed.push(parsed.destination);
    }
    Some(allowed)
}
