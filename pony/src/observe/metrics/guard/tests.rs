use super::*;

struct Shown(String);

impl Shown {
    fn of(metrics: &Metrics) -> Self {
        Self(String::from_utf8(metrics.render().unwrap()).unwrap())
    }

    #[track_caller]
    fn has(&self, line: &str) {
        assert!(
            self.0.lines().any(|shown| shown == line),
            "{line}\n{}",
            self.0
        );
    }
}

fn with_listeners() -> (Metrics, GuardMetrics) {
    let metrics = Metrics::new().unwrap();
    let listeners = [("web", Protocol::Tcp), ("dns", Protocol::Udp)];
    let guard = GuardMetrics::register(&metrics, listeners).unwrap();
    (metrics, guard)
}

fn tally(packets: u64, bytes: u64, attempts: u64) -> Tally {
    Tally {
        packets,
        bytes,
        attempts,
    }
}

const WEB: u32 = 0;
const DNS: u32 = 1;

#[test]
fn every_series_is_there_from_the_start() {
    let (metrics, _guard) = with_listeners();
    let shown = Shown::of(&metrics);
    for listener in ["web", "dns"] {
        for slot in Slot::ALL {
            let (verdict, reason) = (slot.verdict(), slot.reason());
            let labels =
                format!("{{listener=\"{listener}\",reason=\"{reason}\",verdict=\"{verdict}\"}}");
            shown.has(&format!("packetpony_guard_packets_total{labels} 0"));
            shown.has(&format!("packetpony_guard_bytes_total{labels} 0"));
        }
    }
    shown.has("packetpony_guard_other_packets_total{reason=\"no_listener\"} 0");
    shown.has("packetpony_guard_blocked_clients 0");
    shown.has("packetpony_guard_policy_generation 0");
}

#[test]
fn packets_and_bytes_are_what_the_kernel_has_counted_so_far() {
    let (metrics, guard) = with_listeners();
    let acl = Slot::Drop(Reason::Acl);
    for (packets, bytes) in [(3, 300), (3, 300), (5, 450)] {
        guard.set_tally(WEB, acl, tally(packets, bytes, 0));
    }
    guard.set_read(0, 4);
    guard.set_read(0, 9);
    let shown = Shown::of(&metrics);
    let labels = "{listener=\"web\",reason=\"acl\",verdict=\"drop\"}";
    shown.has(&format!("packetpony_guard_packets_total{labels} 5"));
    shown.has(&format!("packetpony_guard_bytes_total{labels} 450"));
    shown.has("packetpony_guard_other_packets_total{reason=\"no_listener\"} 9");
}

#[test]
fn refusals_by_the_kernel_and_by_the_daemon_are_in_one_total() {
    let (metrics, guard) = with_listeners();
    let web = metrics.listener("web", Protocol::Tcp).unwrap();
    web.refused(Reason::Acl);
    web.refused(Reason::AttemptLimit);
    for attempts in [2, 2, 7] {
        guard.set_tally(WEB, Slot::Drop(Reason::Acl), tally(100, 0, attempts));
        guard.set_tally(WEB, Slot::Drop(Reason::AttemptLimit), tally(9, 0, attempts));
    }
    web.refused(Reason::Acl);
    let shown = Shown::of(&metrics);
    shown.has("packetpony_acl_drops_total{listener=\"web\"} 9");
    let status = |status| {
        format!(
            "packetpony_connections_total{{listener=\"web\",protocol=\"tcp\",status=\"{status}\"}}"
        )
    };
    shown.has(&format!("{} 9", status("acl_denied")));
    shown.has(&format!("{} 8", status("rate_limited")));
    shown.has("packetpony_rate_limit_drops_total{listener=\"web\",reason=\"attempt_limit\"} 8");
}

#[test]
fn a_datagram_over_the_bandwidth_is_held_back_and_no_refused_session() {
    let (metrics, guard) = with_listeners();
    guard.set_tally(DNS, Slot::Drop(Reason::BandwidthLimit), tally(4, 400, 4));
    let shown = Shown::of(&metrics);
    shown.has("packetpony_rate_limit_drops_total{listener=\"dns\",reason=\"bandwidth_limit\"} 4");
    shown.has(
        "packetpony_connections_total{listener=\"dns\",protocol=\"udp\",status=\"rate_limited\"} 0",
    );
}

#[test]
fn what_passes_or_is_malformed_is_in_no_total_of_refusals() {
    let (metrics, guard) = with_listeners();
    for slot in [
        Slot::Pass,
        Slot::Sent,
        Slot::Drop(Reason::Malformed),
        Slot::Report(Reason::AttemptLimit),
        Slot::Report(Reason::BandwidthLimit),
    ] {
        guard.set_tally(WEB, slot, tally(5, 5, 5));
    }
    let shown = Shown::of(&metrics);
    for reason in ["attempt_limit", "bandwidth_limit"] {
        for family in ["rate_limit_drops", "limit_violations"] {
            let labels = format!("{{listener=\"web\",reason=\"{reason}\"}}");
            shown.has(&format!("packetpony_{family}_total{labels} 0"));
        }
    }
}

#[test]
fn an_interface_that_is_left_is_not_shown_any_more() {
    let (metrics, guard) = with_listeners();
    guard.set_attached([("eth0", "native"), ("eth1", "generic")]);
    guard.set_attached([("eth1", "native")]);
    let shown = Shown::of(&metrics);
    shown.has("packetpony_guard_attached{interface=\"eth1\",mode=\"native\"} 1");
    assert_eq!(shown.0.matches("packetpony_guard_attached{").count(), 1);
}

#[test]
fn unknown_numbers_are_nobodys() {
    let (_metrics, guard) = with_listeners();
    assert_eq!(guard.listeners(), 2);
    guard.set_tally(2, Slot::Pass, tally(1, 1, 1));
    guard.set_read(u32::MAX, 1);
}
