//! A flood, and what it does to those who ask meanwhile and to the daemon.

use std::{
    fmt, io,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{
    attacker::{self, Attacker},
    client::{Answers, Summary, Way},
    sender::{Kind, SOURCES},
};
use crate::{
    harness::Pony,
    lab::{CLIENT_V4, Lab, PROXY_V4},
};

/// What a flood did.
pub(super) struct Measured {
    pub(super) sent: u64,
    took: Duration,
    /// How many packets its interface handed to the proxy's kernel.
    pub(super) arrived: u64,
    /// What became of the questions that were asked meanwhile.
    asked: [(Way, Summary); WAYS.len()],
    /// The same of scrapes of the metrics.
    scrapes: Summary,
    /// By how many bytes the daemon grew.
    growth: u64,
    /// How many lines the daemon logged.
    lines: usize,
}

impl Measured {
    /// Floods this port of the proxy while clients ask there.
    pub(super) fn new(lab: &Lab, attacker: &Attacker, pony: &Pony, kind: Kind, port: u16) -> Self {
        let proxy = format!("{PROXY_V4}:{port}").parse().unwrap();
        let asked = WAYS.map(|(way, from)| (way, from, Answers::default()));
        let scrapes = Answers::default();
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopAtEnd(stop);
            for (way, from, answers) in &asked {
                let ask = move || answers.collect(stop, way.ask(*from, proxy));
                scope.spawn(move || lab.client.enter(ask));
            }
            scope.spawn(|| lab.proxy.enter(|| scrapes.collect(stop, |_| scrape(pony))));
            let wait_for_answers = || {
                for (_, _, answers) in &asked {
                    answers.wait_for_more();
                }
                scrapes.wait_for_more();
            };

            wait_for_answers();
            let (arrived, memory) = (attacker::arrived(lab), pony.resident());
            let lines = pony.lines().len();
            let start = Instant::now();
            let sent = attacker
                .flood(kind, port, |sent| !is_enough(sent, start))
                .unwrap();
            let end = Instant::now();
            wait_for_answers();
            Self {
                sent,
                took: end - start,
                arrived: attacker::arrived(lab) - arrived,
                asked: asked
                    .each_ref()
                    .map(|(way, _, answers)| (*way, answers.between(start, end))),
                scrapes: scrapes.between(start, end),
                growth: pony.resident().saturating_sub(memory),
                lines: pony.lines().len() - lines,
            }
        })
    }

    /// So many packets of the flood in every second of it.
    pub(super) fn per_second(&self, packets: u64) -> u64 {
        packets * 1000 / u64::try_from(self.took.as_millis()).unwrap().max(1)
    }

    /// Nobody noticed much.
    #[track_caller]
    pub(super) fn is_harmless(&self, growth: u64) {
        for (way, summary) in &self.asked {
            summary.all_served(&format!("{way:?}"));
        }
        self.scrapes.all_served("scrapes");
        assert!(self.growth <= growth, "grew by {} bytes", self.growth);
        let seconds = usize::try_from(self.took.as_secs()).unwrap() + 1;
        assert!(self.lines <= LINES * seconds, "{} lines logged", self.lines);
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64();
        let per_second = self.per_second(self.sent);
        let (sent, arrived, lines) = (self.sent, self.arrived, self.lines);
        let growth = self.growth / 1024;
        writeln!(
            f,
            "{sent} packets in {took:.1} s ({per_second}/s), {arrived} arrived; \
             daemon +{growth} KiB, {lines} lines"
        )?;
        for (way, summary) in &self.asked {
            writeln!(f, "  {way:?}: {summary}")?;
        }
        writeln!(f, "  scrapes: {}", self.scrapes)
    }
}

/// For so long, but from every source twice, and no more than there is time for on a fast machine.
fn is_enough(sent: u64, start: Instant) -> bool {
    start.elapsed() >= LONGEST && sent >= 2 * SOURCES || sent >= MOST
}

fn scrape(pony: &Pony) -> io::Result<()> {
    match pony.http("/metrics") {
        (200, _) => Ok(()),
        (status, _) => Err(io::Error::other(format!("status {status}"))),
    }
}

/// Lets everybody go, also when a check has failed.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Who asks, and how. The first address is exempt from limits, the other one is not.
const WAYS: [(Way, IpAddr); 3] = [
    (Way::Connections, IpAddr::V4(CLIENT_V4[0])),
    (Way::OneConnection, IpAddr::V4(CLIENT_V4[1])),
    (Way::Datagrams, IpAddr::V4(CLIENT_V4[0])),
];
const LONGEST: Duration = Duration::from_secs(2);
const MOST: u64 = 20 * SOURCES;
/// How many kinds of lines there are, each at most once a second; there are fewer.
const LINES: usize = 20;
