//! One entry of `listeners:`, written as a test needs it.

use std::{
    env,
    fmt::{self, Display},
};

/// A listener named after its protocol, on a free port of loopback, that serves loopback clients.
#[derive(Clone)]
pub(crate) struct Entry {
    name: String,
    protocol: &'static str,
    listen: String,
    target: String,
    allow: String,
    tcp: String,
    more: String,
}

impl Entry {
    /// A TCP listener in front of `target`.
    pub(crate) fn tcp(target: impl Display) -> Self {
        let entry = Self::new("tcp", target.to_string());
        match env::var(LANE) {
            Ok(lane) => entry.lane(&lane),
            Err(_) => entry,
        }
    }

    /// A UDP listener in front of `target`.
    pub(crate) fn udp(target: impl Display) -> Self {
        Self::new("udp", target.to_string())
    }

    fn new(protocol: &'static str, target: String) -> Self {
        Self {
            name: protocol.to_owned(),
            protocol,
            listen: "127.0.0.1:0".to_owned(),
            target,
            allow: "127.0.0.0/8, \"::1\"".to_owned(),
            tcp: String::new(),
            more: String::new(),
        }
    }

    /// Another name.
    pub(crate) fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The same protocol, but of one address family: 4 or 6.
    pub(crate) fn family(mut self, family: u8) -> Self {
        self.protocol = match (self.protocol, family) {
            ("tcp", 4) => "tcp4",
            ("tcp", _) => "tcp6",
            ("udp", 4) => "udp4",
            _ => "udp6",
        };
        self
    }

    /// Another place to listen.
    pub(crate) fn listen(mut self, address: impl Display) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Another allowlist, comma-separated.
    pub(crate) fn allow(mut self, prefixes: &str) -> Self {
        prefixes.clone_into(&mut self.allow);
        self
    }

    /// One more key with its value, in YAML's flow style.
    pub(crate) fn with(mut self, key_and_value: &str) -> Self {
        self.more.push_str(", ");
        self.more.push_str(key_and_value);
        self
    }

    /// The block `tcp`, without its braces.
    pub(crate) fn tcp_keys(mut self, keys_and_values: &str) -> Self {
        if keys_and_values.contains("lane:") {
            self = self.without_lane();
        }
        self.tcp += keys_and_values;
        self.tcp += ", ";
        self
    }

    /// The lane that its flows take, instead of any that was named before.
    pub(crate) fn lane(self, lane: &str) -> Self {
        self.tcp_keys(&format!("lane: {lane}"))
    }

    fn without_lane(mut self) -> Self {
        let others = self
            .tcp
            .split_inclusive(", ")
            .filter(|key| !key.starts_with("lane:"));
        self.tcp = others.collect();
        self
    }

    /// The block `rate_limits`.
    pub(crate) fn limits(self, keys_and_values: &str) -> Self {
        self.with(&format!("rate_limits: {{ {keys_and_values} }}"))
    }
}

impl Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            protocol,
            listen,
            target,
            allow,
            tcp,
            more,
        } = self;
        let tcp = match tcp.as_str() {
            "" => String::new(),
            keys => format!(", tcp: {{ {keys}}}"),
        };
        writeln!(
            f,
            "  - {{ name: {name}, protocol: {protocol}, listen_address: \"{listen}\", \
             target_address: \"{target}\", allowlist: [{allow}]{tcp}{more} }}"
        )
    }
}

/// Has every TCP listener of the tests take this lane, unless a test says which.
const LANE: &str = "PONY_LANE";
