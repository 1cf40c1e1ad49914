//! Packets that one core refuses in a second, on a virtual interface.
//!
//! The core that sends is the one that refuses: the virtual cable has no other. What sending costs
//! is the same for all.

use std::time::{Duration, Instant};

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
    /// The daemon alone, below an XDP program that lets everything pass: what a veth takes for
    /// having one. It copies most of what a local program sends.
    Passing,
    /// The daemon alone.
    Daemon,
}

impl Way {
    pub(crate) const ALL: [Self; 5] = [
        Self::Guard,
        Self::Ingress,
        Self::Input,
        Self::Passing,
        Self::Daemon,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard, native XDP",
            Self::Ingress => "nftables, ingress hook",
            Self::Input => "nftables, input hook",
            Self::Passing => "nobody: XDP program that passes all",
            Self::Daemon => "nobody: guard off",
        }
    }
}

/// A daemon of which somebody refuses what is denied.
pub(crate) struct Refusing {
    pub(crate) way: Way,
    pub(crate) lab: Lab,
    pony: Pony,
    _passing: Option<Traffic>,
}

impl Refusing {
    pub(crate) fn start(way: Way) -> Self {
        let lab = Lab::new();
        let guard = match way {
            Way::Guard => "require, attach: native",
            Way::Ingress | Way::Input | Way::Passing | Way::Daemon => "off",
        };
        let pony = lab.start(lab.launch(1).guard(guard));
        let (table, hook) = match way {
            Way::Ingress => ("netdev", "ingress device \"to-client\" priority -500"),
            Way::Input => ("inet", "input priority -300"),
            Way::Guard | Way::Daemon => return Self::new(way, lab, pony),
            Way::Passing => {
                let mut passing = Traffic::load();
                lab.proxy.enter(|| passing.attach_nothing("to-client"));
                return Self {
                    _passing: Some(passing),
                    ..Self::new(way, lab, pony)
                };
            }
        };
        let rules = format!(
            "table {table} bench {{\n chain refuse {{\n  type filter hook {hook}\n  ip saddr != {{ \
             10.0.0.0/8, 192.0.2.1 }} meta l4proto {{ tcp, udp }} th dport {PORT} counter drop\n }}\n}}\n"
        );
        lab.proxy.nft("-f -", &rules);
        Self::new(way, lab, pony)
    }

    const fn new(way: Way, lab: Lab, pony: Pony) -> Self {
        Self {
            way,
            lab,
            pony,
            _passing: None,
        }
    }

    /// Packets that were refused in a second; without anybody who refuses, those that were sent.
    fn rate(&self, traffic: &mut Traffic, kind: Kind, count: u32) -> f64 {
        let before = self.refused();
        let time = self.flood(traffic, kind, count);
        // What the virtual cable has no room for is not refused but lost.
        let refused = self.refused().map_or(f64::from(count), |refused| {
            refused - before.unwrap_or_default()
        });
        assert!(refused <= f64::from(count) * 1.01, "{}", self.way.name());
        refused / time.as_secs_f64()
    }

    /// Sends so many packets that are denied, as fast as one core can.
    fn flood(&self, traffic: &mut Traffic, kind: Kind, count: u32) -> Duration {
        let frame = self.aim(traffic, kind);
        let start = Instant::now();
        self.lab.client.enter(|| {
            stay_on_one_core();
            traffic.flood(&frame, count);
        });
        start.elapsed()
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

    /// How many packets were refused so far. `None`: there is nobody who does.
    fn refused(&self) -> Option<f64> {
        Some(match self.way {
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
            Way::Passing | Way::Daemon => return None,
        })
    }
}

/// Keeps this thread, and what it sends, on one core.
pub(crate) fn stay_on_one_core() {
    let mut one = CpuSet::new();
    one.set(1);
    // A machine with one core has no other.
    sched_setaffinity(None, &one).unwrap_or_default();
}
