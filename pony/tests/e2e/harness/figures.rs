//! What `/metrics` and the health paths of a running `pony` show.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use super::{Pony, wait_for};

impl Pony {
    /// Where metrics and health are served.
    #[track_caller]
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        *self.metrics.get_or_init(|| {
            let started = self.message("Prometheus metrics server started");
            started["address"].as_str().unwrap().parse().unwrap()
        })
    }

    /// Asks the metrics server for a path: status and body.
    #[track_caller]
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.metrics_address()).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// The sum of the series of this name that have all these labels, written `name="value"`.
    ///
    /// # Panics
    ///
    /// If there is none: every series is there from the start.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[String]) -> f64 {
        let (status, body) = self.http("/metrics");
        assert_eq!(status, 200, "{body}");
        let values: Vec<f64> = body
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .filter(|line| labels.iter().all(|label| line.contains(label.as_str())))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert!(
            !values.is_empty(),
            "no series {name} with {labels:?} in:\n{body}"
        );
        values.iter().sum()
    }

    /// Like [`Pony::metric`], of one listener and with one more label, which may be empty.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, listener: &str, label: &str) -> u64 {
        let labels = [format!("listener=\"{listener}\""), label.to_owned()];
        let value = self.metric(name, &labels);
        assert!(value >= 0.0 && value.fract() == 0.0, "{name} is {value}");
        format!("{value:.0}").parse().unwrap()
    }

    /// How many connections or sessions are open.
    #[track_caller]
    pub(crate) fn active(&self, listener: &str) -> u64 {
        self.count("packetpony_connections_active", listener, "")
    }

    /// `packetpony_connections_total` by status.
    #[track_caller]
    pub(crate) fn connections(&self, listener: &str, status: &str) -> u64 {
        self.count(
            "packetpony_connections_total",
            listener,
            &format!("status=\"{status}\""),
        )
    }

    /// Payload bytes in this direction, `sent` or `received`.
    #[track_caller]
    pub(crate) fn bytes(&self, listener: &str, direction: &str) -> u64 {
        let label = format!("direction=\"{direction}\"");
        self.count("packetpony_bytes_transferred_total", listener, &label)
    }

    /// Datagrams in this direction.
    #[track_caller]
    pub(crate) fn packets(&self, listener: &str, direction: &str) -> u64 {
        let label = format!("direction=\"{direction}\"");
        self.count("packetpony_packets_transferred_total", listener, &label)
    }

    /// Errors of this type.
    #[track_caller]
    pub(crate) fn errors(&self, listener: &str, kind: &str) -> u64 {
        self.count(
            "packetpony_errors_total",
            listener,
            &format!("type=\"{kind}\""),
        )
    }

    /// What was refused or dropped for this limit.
    #[track_caller]
    pub(crate) fn drops(&self, listener: &str, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"");
        self.count("packetpony_rate_limit_drops_total", listener, &label)
    }

    /// What passed although it was over this limit.
    #[track_caller]
    pub(crate) fn violations(&self, listener: &str, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"");
        self.count("packetpony_limit_violations_total", listener, &label)
    }

    /// Waits until bytes have moved and then no more of them do, and returns how many did.
    #[track_caller]
    pub(crate) fn bytes_when_stalled(&self, listener: &str, direction: &str) -> u64 {
        wait_for("the flow to stall", || {
            let before = self.bytes(listener, direction);
            let unchanged = (0..STALLED_LOOKS).all(|_| {
                thread::sleep(STALLED_PAUSE);
                self.bytes(listener, direction) == before
            });
            (before > 0 && unchanged).then_some(before)
        })
    }

    /// How much memory it has, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
        kilobytes * 1024
    }
}

const STALLED_LOOKS: usize = 10;
const STALLED_PAUSE: Duration = Duration::from_millis(20);
