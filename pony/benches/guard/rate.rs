//! Packets that one core refuses in a second, on a virtual interface.
//!
//! The core that sends is the one that refuses: the virtual cable has no other. What sending costs
//! is the same for all.

use std::time::Instant;

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    Effort,
    frame::{Kind, frame},
    harness::Pony,
    lab::{DENIED, Lab, PORT, PROXY},
    report::Report,
    traffic::{Sources, Traffic},
};

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let mut traffic = Traffic::load();
    let ways: Vec<_> = Way::ALL.into_iter().map(Refusing::start).collect();
    let count = effort.pick(4_000_000, 50_000);
    for (what, kind) in [("SYN", Kind::Syn), ("UDP", Kind::Udp)] {
        let mut values = vec![Vec::new(); ways.len()];
        for _ in 0..effort.pick(7, 1) {
            for (refusing, values) in ways.iter().zip(&mut values) {
                values.push(refusing.rate(&mut traffic, kind, count) / 1e6);
            }
        }
        for (refusing, values) in ways.iter().zip(values) {
            let name = format!("{what}: {}", refusing.way.name());
            report.add("Refused by one core, 131,072 sources", &name, "M/s", values);
        }
    }
}

/// Who refuses what is denied.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Way {
    Guard,
    Ingress,
    Input,
    /// The daemon alone.
    Daemon,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Guard, Self::Ingress, Self::Input, Self::Daemon];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard, native XDP",
            Self::Ingress => "nftables, ingress hook",
            Self::Input => "nftables, input hook",
            Self::Daemon => "nobody: guard off",
        }
    }
}

/// A daemon of which somebody refuses what is denied.
pub(crate) struct Refusing {
    pub(crate) way: Way,
    pub(crate) lab: Lab,
    pony: Pony,
}

impl Refusing {
    pub(crate) fn start(way: Way) -> Self {
        let lab = Lab::new();
        let guard = match way {
            Way::Guard => "require, attach: native",
            Way::Ingress | Way::Input | Way::Daemon => "off",
        };
        let pony = lab.start(lab.launch(1).guard(guard));
        let (table, hook) = match way {
            Way::Ingress => ("netdev", "ingress device \"to-client\" priority -500"),
            Way::Input => ("inet", "input priority -300"),
            Way::Guard | Way::Daemon => return Self { way, lab, pony },
        };
        let rules = format!(
            "table {table} bench {{\n chain refuse {{\n  type filter hook {hook}\n  ip saddr != {{ \
             10.0.0.0/8, 192.0.2.1 }} meta l4proto {{ tcp, udp }} th dport {PORT} counter drop\n }}\n}}\n"
        );
        lab.proxy.nft("-f -", &rules);
        Self { way, lab, pony }
    }

    /// Packets that were sent in a second.
    fn rate(&self, traffic: &mut Traffic, kind: Kind, count: u32) -> f64 {
        let before = self.refused();
        let rate = self.flood(traffic, kind, count);
        let refused = self.refused() - before;
        // Without anybody who refuses there is nothing to count.
        let (least, most) = (f64::from(count) * 0.99, f64::from(count) * 1.01);
        assert!(
            self.way == Way::Daemon || (least..=most).contains(&refused),
            "{}: refused {refused} of {count}",
            self.way.name()
        );
        rate
    }

    /// Sends so many packets that are denied, as fast as one core can.
    fn flood(&self, traffic: &mut Traffic, kind: Kind, count: u32) -> f64 {
        let frame = self.aim(traffic, kind);
        let start = Instant::now();
        self.lab.client.enter(|| {
            stay_on_one_core();
            traffic.flood(&frame, count);
        });
        f64::from(count) / start.elapsed().as_secs_f64()
    }

    /// Aims at this proxy, and returns the frame to send.
    pub(crate) fn aim(&self, traffic: &mut Traffic, kind: Kind) -> Vec<u8> {
        let sources = Sources {
            base: DENIED,
            mask: 0x1_ffff,
        };
        traffic.aim(sources, self.lab.interface());
        frame(kind, DENIED, PROXY, PORT)
    }

    fn refused(&self) -> f64 {
        match self.way {
            Way::Guard => {
                let drops = [r#"verdict="drop""#.to_owned()];
                let name = "packetpony_guard_packets_total";
                self.lab.proxy.enter(|| self.pony.metric(name, &drops))
            }
            Way::Ingress | Way::Input => {
                let rules = self.lab.proxy.nft("list ruleset", "");
                let (_, count) = rules.split_once("counter packets ").unwrap();
                let (count, _) = count.split_once(' ').unwrap();
                count.parse().unwrap()
            }
            Way::Daemon => 0.0,
        }
    }
}

/// Keeps this thread, and what it sends, on one core.
pub(crate) fn stay_on_one_core() {
    let mut one = CpuSet::new();
    one.set(1);
    // A machine with one core has no other.
    sched_setaffinity(None, &one).unwrap_or_default();
}
