//! Where PROXY headers may send clients.

use std::net::SocketAddr;

use super::Origin;
use crate::config::{self, Destination, Host};

/// Where the headers of one listener may send clients.
#[derive(Debug)]
pub struct Destinations {
    allowed: Vec<Destination>,
    /// The listener has its port on every address.
    is_everywhere: bool,
    /// The port of its socket, where clients come for what others have.
    transparent_at: Option<u16>,
}

/// Why a header's destination is not one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DestinationError {
    /// The list does not have it.
    #[error("client {} may not go to {}: it is not in allowed_destinations", .0.client, .0.destination)]
    NotAllowed(Origin),
    /// It would come back.
    #[error("client {} may not go to {}: it is this listener itself", .0.client, .0.destination)]
    Itself(Origin),
}

impl Destinations {
    /// Those of a listener, if headers have a say.
    pub fn of(listener: &config::Listener) -> Option<Self> {
        Some(Self {
            allowed: listener.destinations.clone()?,
            is_everywhere: match listener.listen.host {
                Host::Any => true,
                Host::Ip(ip) => ip.is_unspecified(),
                Host::Name(_) => false,
            },
            transparent_at: listener.transparent.then_some(listener.listen.port),
        })
    }

    /// Whether the client may go where its header says. `here` is where the header came to.
    pub fn check(&self, origin: Origin, here: SocketAddr) -> Result<(), DestinationError> {
        let destination = origin.destination;
        // Connecting to no address is connecting to loopback, which no prefix has said.
        let is_none = destination.ip().is_unspecified();
        if is_none || !self.allowed.iter().any(|net| net.contains(destination)) {
            return Err(DestinationError::NotAllowed(origin));
        }
        let is_here =
            destination.ip() == here.ip() || self.is_everywhere && destination.ip().is_loopback();
        let can_be_here = self.transparent_at.is_none_or(|port| port == here.port());
        if is_here && can_be_here && destination.port() == here.port() {
            return Err(DestinationError::Itself(origin));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_allowed_by_the_list_unless_it_is_no_address_or_the_listener() {
        let net = |net: &str| Destination {
            net: net.parse().unwrap(),
            ports: 1..=65535,
        };
        let allowed = vec![net("0.0.0.0/0"), net("::1/128")];
        let of = |is_everywhere| Destinations {
            allowed: allowed.clone(),
            is_everywhere,
            transparent_at: None,
        };
        let [here, client] = ["192.0.2.1:80", "192.0.2.9:1000"].map(|text| text.parse().unwrap());
        let rows = [
            ("10.0.0.1:80", "", ""),
            ("[2001:db8::1]:80", "not in", "not in"),
            ("0.0.0.0:81", "not in", "not in"),
            ("10.0.0.1:0", "not in", "not in"),
            ("192.0.2.1:80", "itself", "itself"),
            ("192.0.2.1:81", "", ""),
            ("127.0.0.1:80", "", "itself"),
            ("[::1]:80", "", "itself"),
            ("127.0.0.1:81", "", ""),
        ];
        for (destination, at_one_address, everywhere) in rows {
            for (is_everywhere, expected) in [(false, at_one_address), (true, everywhere)] {
                let origin = Origin {
                    client,
                    destination: destination.parse().unwrap(),
                };
                let said = of(is_everywhere).check(origin, here);
                let said = said.err().map_or(String::new(), |error| error.to_string());
                assert_eq!(
                    said.is_empty(),
                    expected.is_empty(),
                    "{destination}: {said}"
                );
                assert!(said.contains(expected), "{destination}: {said}");
            }
        }
    }

    /// A firewall's rule has sent the client here that came for the target, and does not send us.
    #[test]
    fn who_came_for_a_target_through_a_transparent_listener_may_go_there() {
        let destinations = Destinations {
            allowed: vec![Destination {
                net: "192.0.2.0/24".parse().unwrap(),
                ports: 1..=65535,
            }],
            is_everywhere: true,
            transparent_at: Some(25577),
        };
        let check = |there: &str| {
            let there = there.parse().unwrap();
            let origin = Origin {
                client: "198.51.100.7:1000".parse().unwrap(),
                destination: there,
            };
            destinations.check(origin, there)
        };
        check("192.0.2.1:80").unwrap();
        check("192.0.2.1:25577").unwrap_err();
    }
}
