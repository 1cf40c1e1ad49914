//! Port numbers by name, from the services database.
//!
//! Reads `/etc/services` as text; the C library's look-ups are either not thread-safe or ask the
//! network. A few common names work where that file is missing, as in small containers.

use std::fs;

use super::model::Protocol;

const DATABASE: &str = "/etc/services";

const COMMON: [(&str, u16); 12] = [
    ("domain", 53),
    ("ftp", 21),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imaps", 993),
    ("ldap", 389),
    ("mysql", 3306),
    ("ntp", 123),
    ("postgresql", 5432),
    ("smtp", 25),
    ("ssh", 22),
];

/// The services that this machine knows.
#[derive(Debug)]
pub(super) struct Services(String);

impl Services {
    /// Reads the database of this machine; a missing one is an empty one.
    pub(super) fn load() -> Self {
        Self(fs::read(DATABASE).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        ))
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The port that `name` or one of its aliases has with `protocol`.
    pub(super) fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let common = || {
            COMMON
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, port)| *port)
        };
        self.0
            .lines()
            .find_map(|line| port_in(line, name, protocol))
            .or_else(common)
    }
}

/// The port in a line such as `http-alt  8080/tcp  webcache  # comment`.
fn port_in(line: &str, name: &str, protocol: Protocol) -> Option<u16> {
    let entry = line.split('#').next()?;
    let mut words = entry.split_whitespace();
    let official = words.next()?;
    let (port, transport) = words.next()?.split_once('/')?;
    let is_it = official == name || words.any(|alias| alias == name);
    (is_it && transport == protocol.as_str()).then(|| port.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment: ghost 1/tcp
web      8000/tcp   www-dev  # the development site
web      8001/udp
broken
worse    /tcp
huge     99999/tcp
";

    #[test]
    fn finds_names_and_aliases_for_their_protocol_only() {
        let services = Services::from_text(TEXT);
        let rows = [
            ("web", Protocol::Tcp, Some(8000)),
            ("web", Protocol::Udp, Some(8001)),
            ("www-dev", Protocol::Tcp, Some(8000)),
            ("www-dev", Protocol::Udp, None),
            ("ghost", Protocol::Tcp, None),
            ("the", Protocol::Tcp, None),
            ("broken", Protocol::Tcp, None),
            ("worse", Protocol::Tcp, None),
            ("huge", Protocol::Tcp, None),
        ];
        for (name, protocol, port) in rows {
            assert_eq!(services.port(name, protocol), port, "{name} {protocol}");
        }
    }

    #[test]
    fn common_names_work_without_a_database() {
        assert_eq!(
            Services::from_text("").port("http-alt", Protocol::Tcp),
            Some(8080)
        );
        assert_eq!(
            Services::from_text("").port("domain", Protocol::Udp),
            Some(53)
        );
    }

    #[test]
    fn the_database_wins_over_the_common_names() {
        let services = Services::from_text("ssh 2222/tcp");
        assert_eq!(services.port("ssh", Protocol::Tcp), Some(2222));
    }
}
