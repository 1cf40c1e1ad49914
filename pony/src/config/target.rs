//! Where a listener forwards to: a host, and a port unless that is the one the client connected to.
//!
//! Owns its syntax. The host is what [`super::address`] says it is.

use std::fmt;

use super::address::{Host, HostPort, parse_host};
use super::model::Protocol;
use super::problem::Complaint;
use super::services::Services;
use super::span;

/// A target, as it is written.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Target {
    /// Never [`Host::Any`].
    pub host: Host,
    /// Never 0. `None`: the port that the client connected to.
    pub port: Option<u16>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

impl Target {
    /// Reads `host:port` or `host`; names of ports are those that `services` knows for `protocol`.
    pub(super) fn parse(
        text: &str,
        protocol: Protocol,
        services: &Services,
    ) -> Result<Self, Complaint> {
        if is_host(text.trim()) {
            let host = parse_host(text.trim(), text)?;
            return Ok(Self { host, port: None });
        }
        if let Some((host, port)) = text.trim().rsplit_once(':')
            && let Some(Ok(_)) = span::range(port)
        {
            let remedy = format!(
                "write \"{host}\": without a port it is the one that the client connected to"
            );
            return Err(Complaint::new("has a range of ports", remedy));
        }
        let HostPort { host, port } = HostPort::parse(text, protocol, services)?;
        let shown = match port {
            0 => "PORT".to_owned(),
            port => port.to_string(),
        };
        if host == Host::Any {
            let remedy = format!("write the target's host, such as \"127.0.0.1:{shown}\"");
            return Err(Complaint::new("has no host", remedy));
        }
        if port == 0 {
            let remedy = format!("write \"{host}:PORT\" with a port from 1 to 65535");
            return Err(Complaint::new(
                "has port 0, where nothing can be reached",
                remedy,
            ));
        }
        Ok(Self {
            host,
            port: Some(port),
        })
    }
}

/// Whether this has no port. A number alone is rather a port without a host.
fn is_host(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let in_brackets = text.starts_with('[') && text.ends_with(']');
    !is_number && (in_brackets || !text.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Target, Complaint> {
        Target::parse(text, Protocol::Tcp, &Services::from_text(""))
    }

    #[test]
    fn the_port_may_be_left_out() {
        let rows = [
            ("192.0.2.1:80", "192.0.2.1:80", Some(80)),
            ("192.0.2.1", "192.0.2.1", None),
            ("[2001:DB8::1]:80", "[2001:db8::1]:80", Some(80)),
            (" [2001:db8::1] ", "[2001:db8::1]", None),
            ("[::ffff:192.0.2.1]", "192.0.2.1", None),
            ("backend.example.com", "backend.example.com", None),
        ];
        for (text, shown, port) in rows {
            let target = read(text).unwrap();
            assert_eq!((&*target.to_string(), target.port), (shown, port), "{text}");
        }
    }

    #[test]
    fn says_what_to_write_instead() {
        let rows = [
            ("", "is empty", "host:port"),
            ("8080", "has no host", "\":8080\""),
            (":80", "has no host", "\"127.0.0.1:80\""),
            ("::1", "without brackets", "\"[::1]:PORT\""),
            (
                "[1.2.3.4]",
                "something else than an IPv6 address",
                "without brackets",
            ),
            ("1.2.3", "is not an IPv4 address", "four numbers"),
            ("a b", "neither an address nor a host name", "example.com"),
            ("a:", "no port after the colon", "1 to 65535"),
            ("a:0", "has port 0", "\"a:PORT\""),
            ("[::1]:80-90", "has a range of ports", "write \"[::1]\":"),
        ];
        for (text, message, remedy) in rows {
            let complaint = read(text).unwrap_err();
            assert!(complaint.message.contains(message), "{text}: {complaint:?}");
            assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
        }
    }
}
