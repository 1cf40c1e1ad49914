//! What the contestants are given to do, and what is measured of it.

use std::{io, time::Duration};

use crate::{bulk, connecting, conversation, datagrams, echoing, place::Ends, setting::Setting};

/// Something to do.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// How clients come.
    pub(crate) setting: Setting,
    /// What [`Self::run`] measures.
    pub(crate) metrics: &'static [Metric],
    /// What the time of cores is told for: all that is used, divided by the amount of work.
    pub(crate) cpu: [Metric; 2],
    /// Of the seconds of one piece of work in the unit of [`Self::cpu`].
    pub(crate) cpu_scale: f64,
    /// Does it for this long, in the client's namespace. Says what went wrong, if anything did.
    pub(crate) run: fn(Ends, Duration) -> io::Result<Outcome>,
}

/// A figure with its unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// What was done.
pub(crate) struct Outcome {
    /// As [`Work::metrics`] has them.
    pub(crate) figures: Vec<f64>,
    /// GB, exchanges, connections.
    pub(crate) amount: f64,
}

const fn metric(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit }
}

const fn bulk(name: &'static str, run: fn(Ends, Duration) -> io::Result<Outcome>) -> Work {
    Work {
        name,
        setting: Setting::Direct,
        metrics: &[THROUGHPUT],
        cpu: [metric(PROXY_CPU, "ms/GB"), metric(MACHINE_CPU, "ms/GB")],
        cpu_scale: 1e3,
        run,
    }
}

const fn there_and_back(
    name: &'static str,
    run: fn(Ends, Duration) -> io::Result<Outcome>,
) -> Work {
    Work {
        setting: Setting::Balanced,
        metrics: &BOTH_WAYS,
        ..bulk(name, run)
    }
}

const fn connect(name: &'static str, setting: Setting) -> Work {
    Work {
        name,
        setting,
        metrics: &CONNECTION_RATE,
        cpu: [
            metric(PROXY_CPU, "us/connection"),
            metric(MACHINE_CPU, "us/connection"),
        ],
        cpu_scale: 1e6,
        run: connecting::connect,
    }
}

const BOTH_WAYS: [Metric; 3] = [BOTH, metric("up", "Gbit/s"), metric("down", "Gbit/s")];
const CONNECTION_RATE: [Metric; 1] = [metric(CONNECTIONS, "/s")];
const EXCHANGE_CPU: [Metric; 2] = [
    metric(PROXY_CPU, "us/exchange"),
    metric(MACHINE_CPU, "us/exchange"),
];

pub(crate) const WORKS: [Work; 11] = [
    bulk(BULK_ONE, bulk::upload_one),
    bulk(BULK_MANY, bulk::upload_many),
    bulk("download, 1 flow", bulk::download),
    Work {
        name: PING_ONE,
        setting: Setting::Direct,
        metrics: &[LATENCY, metric("latency, p99", "us")],
        cpu: EXCHANGE_CPU,
        cpu_scale: 1e6,
        run: conversation::one,
    },
    Work {
        name: PING_MANY,
        setting: Setting::Direct,
        metrics: &[metric(EXCHANGES, "/s")],
        cpu: EXCHANGE_CPU,
        cpu_scale: 1e6,
        run: conversation::many,
    },
    connect(CONNECT, Setting::Direct),
    there_and_back(BALANCED, echoing::echo),
    there_and_back(BALANCED_ALL, echoing::echo_from_all),
    Work {
        setting: Setting::Balanced,
        ..bulk(
            "behind a load balancer: bulk, 50 flows",
            bulk::upload_very_many,
        )
    },
    connect(
        "a port or a range: connect, one exchange, close",
        Setting::Ports,
    ),
    Work {
        name: "a port or a range: datagrams, 50 flows",
        setting: Setting::Ports,
        metrics: &[metric(EXCHANGES, "/s")],
        cpu: EXCHANGE_CPU,
        cpu_scale: 1e6,
        run: datagrams::exchange,
    },
];

pub(crate) const BULK_ONE: &str = "bulk, 1 flow";
pub(crate) const BULK_MANY: &str = "bulk, 8 flows";
pub(crate) const PING_ONE: &str = "ping-pong, 1 flow";
pub(crate) const PING_MANY: &str = "ping-pong, 50 flows";
pub(crate) const CONNECT: &str = "connect, one exchange, close";
/// The shape of go-mmproxy's benchmark.
pub(crate) const BALANCED: &str = "behind a load balancer: bulk there and back, 50 flows";
pub(crate) const BALANCED_ALL: &str =
    "behind a load balancer: bulk there and back, 50 flows, clients on all cores";
pub(crate) const THROUGHPUT: Metric = metric("throughput", "Gbit/s");
pub(crate) const BOTH: Metric = metric("up and down", "Gbit/s");
pub(crate) const LATENCY: Metric = metric("latency, p50", "us");
/// Made of the one above; see `main`.
pub(crate) const ADDED_LATENCY: Metric = metric("latency added to no proxy's, p50", "us");
pub(crate) const EXCHANGES: &str = "exchanges";
pub(crate) const CONNECTIONS: &str = "connections";
pub(crate) const PROXY_CPU: &str = "CPU time of the proxy's processes";
pub(crate) const MACHINE_CPU: &str = "CPU time of the whole machine";
