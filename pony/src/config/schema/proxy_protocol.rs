//! The `proxy_protocol` block of a listener.

use std::time::Duration;

use super::{LEAST_TIME, MOST_TIME, access, listener::no_effect};
use crate::config::model::{
    AcceptHeaders, Protocol, ProxyProtocol, SendHeaders, SentFields, UdpHeader,
};
use crate::config::problem::Complaint;
use crate::config::reader::{Entry, Section};
use crate::proxy_header::Version;

pub(super) const KEYS: &[&str] = &[
    "accept",
    "trusted",
    "header_timeout",
    "send",
    "send_fields",
    "udp_header",
];

const TRUSTED_REMEDY: &str =
    "list the proxies that may say for whom they connect, such as [\"10.0.0.0/24\"]";
const NO_HEADERS_REMEDY: &str = "remove it, or write `accept: required`";
const NOT_SENT_REMEDY: &str = "remove it, or write `send: v2`";

/// Whether a client may do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Accept {
    Off,
    Optional,
    Required,
}

const ACCEPTS: &[(&str, Accept)] = &[
    ("off", Accept::Off),
    ("optional", Accept::Optional),
    ("required", Accept::Required),
];

const VERSIONS: &[(&str, Version)] = &[("v1", Version::V1), ("v2", Version::V2)];

const UDP_HEADERS: &[(&str, UdpHeader)] = &[("each", UdpHeader::Each), ("first", UdpHeader::First)];

pub(super) fn check(listener: &Section<'_>, protocol: Protocol) -> Option<ProxyProtocol> {
    let Some(entry) = listener.get("proxy_protocol") else {
        return Some(ProxyProtocol::default());
    };
    let section = entry.section(KEYS)?;
    let udp_header = udp_header(&section, protocol);
    let accept = accept(&section, protocol, udp_header);
    let send = send(&section, protocol, udp_header);
    if accept.is_none() && send.is_none() && !section.is_empty() {
        warn_of_nothing(&section);
    }
    Some(ProxyProtocol { accept, send })
}

fn udp_header(section: &Section<'_>, protocol: Protocol) -> UdpHeader {
    let Some(entry) = section.get("udp_header") else {
        return UdpHeader::Each;
    };
    if protocol == Protocol::Tcp {
        entry.warn(no_effect(protocol));
    }
    entry
        .word("a place for headers", UDP_HEADERS)
        .unwrap_or(UdpHeader::Each)
}

fn accept(
    section: &Section<'_>,
    protocol: Protocol,
    udp_header: UdpHeader,
) -> Option<AcceptHeaders> {
    let accept = section
        .get("accept")
        .and_then(|entry| entry.word("a rule about PROXY headers", ACCEPTS))
        .unwrap_or(Accept::Off);
    if accept == Accept::Off {
        for key in ["trusted", "header_timeout"] {
            if let Some(entry) = section.get(key) {
                entry.warn(Complaint::new(
                    "has no effect without `accept`",
                    NO_HEADERS_REMEDY,
                ));
            }
        }
    }
    let trusted = access::nets(section, "trusted");
    let timeout = section
        .get("header_timeout")
        .and_then(|entry| entry.duration_in(LEAST_TIME..=MOST_TIME));
    if accept == Accept::Off {
        return None;
    }
    match (section.get("trusted"), &trusted) {
        (None, _) => {
            let message = "is missing: nobody is trusted without a list";
            section.missing("trusted", Complaint::new(message, TRUSTED_REMEDY));
        }
        (Some(entry), Some(trusted)) if trusted.is_empty() => {
            entry.warn(Complaint::new(
                "is empty, which trusts nobody",
                TRUSTED_REMEDY,
            ));
        }
        _ => {}
    }
    if let Some(entry) = section.get("header_timeout")
        && protocol == Protocol::Udp
    {
        entry.warn(no_effect(Protocol::Udp));
    }
    Some(AcceptHeaders {
        trusted: trusted.unwrap_or_default(),
        is_required: accept == Accept::Required,
        timeout: timeout.unwrap_or(AcceptHeaders::TIMEOUT),
        udp: udp_header,
    })
}

fn send(section: &Section<'_>, protocol: Protocol, udp_header: UdpHeader) -> Option<SendHeaders> {
    let fields = section.get("send_fields");
    let Some(entry) = section.get("send") else {
        if let Some(fields) = fields {
            fields.warn(Complaint::new(
                "has no effect without `send`",
                NOT_SENT_REMEDY,
            ));
        }
        return None;
    };
    let version = entry.word("a version of the PROXY protocol", VERSIONS)?;
    if version == Version::V1 && protocol == Protocol::Udp {
        entry.error(Complaint::new(
            "has no form for datagrams",
            "write `send: v2`",
        ));
    }
    let is_v1 = version == Version::V1;
    if let Some(fields) = fields.as_ref().filter(|_| is_v1) {
        fields.error(Complaint::new(
            "cannot be sent in a header of version 1",
            "write `send: v2`, or remove the fields",
        ));
    }
    Some(SendHeaders {
        version,
        fields: fields.map_or_else(SentFields::default, |fields| sent_fields(&fields)),
        udp: udp_header,
    })
}

fn sent_fields(entry: &Entry<'_>) -> SentFields {
    type Choose = fn(&mut SentFields) -> &mut bool;
    let words: [(&str, Choose); 4] = [
        ("unique_id", |fields| &mut fields.unique_id),
        ("authority", |fields| &mut fields.authority),
        ("alpn", |fields| &mut fields.alpn),
        ("tls", |fields| &mut fields.tls),
    ];
    let mut fields = SentFields::default();
    for entry in entry.list().unwrap_or_default() {
        if let Some(choose) = entry.word("a field", &words) {
            *choose(&mut fields) = true;
        }
    }
    fields
}

fn warn_of_nothing(section: &Section<'_>) {
    section.warn(Complaint::new(
        "neither accepts nor sends headers",
        "write `accept: required` or `send: v2`, or remove the block",
    ));
}

impl AcceptHeaders {
    /// How long a header may take unless that is said.
    const TIMEOUT: Duration = Duration::from_secs(5);
}
