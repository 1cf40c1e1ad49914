//! Which target a client gets.

use std::sync::Arc;

use super::Origin;
use crate::config::{self, Host, HostPort};

/// The targets of one listener.
#[derive(Debug)]
pub struct Targets {
    /// For IPv6 clients too, unless there is one for them.
    any: Target,
    v6: Option<Target>,
}

#[derive(Debug)]
enum Target {
    /// Shared by all flows.
    Fixed(Arc<HostPort>),
    /// At the port that the client connected to.
    AtPort(Host),
}

impl Targets {
    /// Those that `config` names.
    pub fn new(config: &config::Listener) -> Self {
        Self {
            any: Target::new(&config.target),
            v6: config.target_v6.as_ref().map(Target::new),
        }
    }

    /// Where to connect for `origin`.
    pub fn choose(&self, origin: Origin) -> Arc<HostPort> {
        let target = match &self.v6 {
            Some(v6) if origin.client.is_ipv6() => v6,
            _ => &self.any,
        };
        match target {
            Target::Fixed(target) => Arc::clone(target),
            Target::AtPort(host) => Arc::new(HostPort {
                host: host.clone(),
                port: origin.destination.port(),
            }),
        }
    }
}

impl Target {
    fn new(target: &config::Target) -> Self {
        let host = target.host.clone();
        match target.port {
            Some(port) => Self::Fixed(Arc::new(HostPort { host, port })),
            None => Self::AtPort(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "192.0.2.1:40000";
    const V6: &str = "[2001:db8::1]:40000";

    fn target(host: &str, port: Option<u16>) -> config::Target {
        let host = Host::Name(host.to_owned());
        config::Target { host, port }
    }

    fn targets(any: &config::Target, v6: Option<&config::Target>) -> Targets {
        Targets {
            any: Target::new(any),
            v6: v6.map(Target::new),
        }
    }

    fn chosen(targets: &Targets, client: &str) -> String {
        let origin = Origin {
            client: client.parse().unwrap(),
            destination: "198.51.100.7:10003".parse().unwrap(),
        };
        targets.choose(origin).to_string()
    }

    #[test]
    fn every_client_gets_the_target_of_its_family() {
        let both = targets(&target("four", Some(80)), Some(&target("six", Some(81))));
        assert_eq!(chosen(&both, V4), "four:80");
        assert_eq!(chosen(&both, V6), "six:81");
        let one = targets(&target("one", Some(80)), None);
        assert_eq!(chosen(&one, V4), "one:80");
        assert_eq!(chosen(&one, V6), "one:80");
    }

    #[test]
    fn a_target_without_a_port_has_the_one_that_the_client_connected_to() {
        let both = targets(&target("four", None), Some(&target("six", Some(81))));
        assert_eq!(chosen(&both, V4), "four:10003");
        assert_eq!(chosen(&both, V6), "six:81");
    }

    #[test]
    fn flows_share_the_target_that_is_configured() {
        let targets = targets(&target("one", Some(80)), None);
        let origin = Origin {
            client: V4.parse().unwrap(),
            destination: V4.parse().unwrap(),
        };
        assert!(Arc::ptr_eq(
            &targets.choose(origin),
            &targets.choose(origin)
        ));
    }
}
