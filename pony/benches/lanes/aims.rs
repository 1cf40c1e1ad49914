//! What PacketPony should reach, beside no proxy and HAProxy.

use std::fmt::{self, Display};

use serde_json::{Value, json};

use crate::{
    idle,
    section::{NO_PROXY, Section},
    work::{
        ADDED_LATENCY, BALANCED, BALANCED_ALL, BOTH, BULK_MANY, BULK_ONE, CONNECT, CONNECTIONS,
        EXCHANGES, PING_MANY, PING_ONE, PROXY_CPU, THROUGHPUT,
    },
};

/// A ratio to reach, in every place.
struct Aim {
    work: &'static str,
    metric: &'static str,
    other: Other,
    bound: Bound,
}

/// With whom it is compared.
#[derive(Clone, Copy)]
enum Other {
    NoProxy,
    HaProxy,
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// What came of an aim.
pub(crate) struct Verdict {
    who: String,
    what: String,
    bound: Bound,
    /// `None`: it could not be measured.
    ratio: Option<f64>,
}

/// What came of the aims that this section has.
pub(crate) fn verdicts(section: &Section) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for aim in AIMS.iter().filter(|aim| aim.work == section.work) {
        let metric = section
            .metrics
            .iter()
            .position(|metric| metric.name == aim.metric);
        let metric = metric.expect("an aim is about something that is measured");
        let other = match aim.other {
            Other::NoProxy => Some(NO_PROXY),
            Other::HaProxy => section.haproxy(),
        };
        let other = other.expect("an aim is beside somebody who does the work");
        for (number, series) in section
            .series
            .iter()
            .enumerate()
            .filter(|(_, series)| series.is_judged)
        {
            verdicts.push(Verdict {
                who: series.name.clone(),
                what: format!(
                    "{}: {}, times {}'s",
                    section.title(),
                    aim.metric,
                    section.series[other].name
                ),
                bound: aim.bound,
                // One that failed reaches nothing, whatever it did before.
                ratio: section
                    .ratio(number, other, metric)
                    .filter(|_| series.failure.is_none()),
            });
        }
    }
    verdicts
}

impl Verdict {
    fn is_met(&self) -> bool {
        self.ratio.is_some_and(|ratio| match self.bound {
            Bound::AtLeast(bound) => ratio >= bound,
            Bound::AtMost(bound) => ratio <= bound,
        })
    }

    pub(crate) fn json(&self) -> Value {
        let (at_least, at_most) = match self.bound {
            Bound::AtLeast(bound) => (Some(bound), None),
            Bound::AtMost(bound) => (None, Some(bound)),
        };
        json!({
            "who": self.who,
            "what": self.what,
            "ratio": self.ratio,
            "at_least": at_least,
            "at_most": at_most,
            "met": self.is_met(),
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            what,
            bound,
            ratio,
        } = self;
        let (words, bound) = match bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::AtMost(bound) => ("at most", bound),
        };
        let ratio = ratio.map_or_else(|| "none".to_owned(), |ratio| format!("{ratio:.2}"));
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(f, "{who}: {what}: {ratio}, {words} {bound}: {verdict}")
    }
}

const AIMS: [Aim; 12] = [
    at_least(BULK_ONE, THROUGHPUT.name, Other::NoProxy, 0.93),
    at_least(BULK_ONE, THROUGHPUT.name, Other::HaProxy, 1.7),
    at_most(BULK_ONE, PROXY_CPU, Other::HaProxy, 0.7),
    at_least(BULK_MANY, THROUGHPUT.name, Other::HaProxy, 1.5),
    at_most(BULK_MANY, PROXY_CPU, Other::HaProxy, 0.7),
    at_most(PING_ONE, ADDED_LATENCY.name, Other::HaProxy, 0.5),
    at_least(PING_MANY, EXCHANGES, Other::HaProxy, 1.1),
    at_most(PING_MANY, PROXY_CPU, Other::HaProxy, 0.9),
    at_least(CONNECT, CONNECTIONS, Other::HaProxy, 1.1),
    // go-mmproxy publishes 0.86 of its own, on a machine with 12 cores.
    at_least(BALANCED, BOTH.name, Other::NoProxy, 0.9),
    at_least(BALANCED_ALL, BOTH.name, Other::NoProxy, 0.9),
    // Of the processes alone: two more sockets take the kernel more than half of all that HAProxy and
    // the kernel take together, whoever has them.
    at_most(idle::NAME, idle::PROXY.name, Other::HaProxy, 0.5),
];

const fn at_least(work: &'static str, metric: &'static str, other: Other, bound: f64) -> Aim {
    Aim {
        work,
        metric,
        other,
        bound: Bound::AtLeast(bound),
    }
}

const fn at_most(work: &'static str, metric: &'static str, other: Other, bound: f64) -> Aim {
    Aim {
        work,
        metric,
        other,
        bound: Bound::AtMost(bound),
    }
}
