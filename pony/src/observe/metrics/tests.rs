use pony_common::{layout::lane::Slip, reason::Reason};

use super::*;

fn rendered(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|found| found == line),
        "no line {line:?} in\n{text}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_series_of_a_listener_is_there_with_0_from_the_start() {
    let metrics = Metrics::new().unwrap();
    metrics.listener("dns", Protocol::Udp).unwrap();
    metrics.listener("web", Protocol::Tcp).unwrap();
    let text = rendered(&metrics);
    for (listener, protocol) in [("dns", "udp"), ("web", "tcp")] {
        let both = format!("listener=\"{listener}\",protocol=\"{protocol}\"");
        for status in ["accepted", "acl_denied", "rate_limited"] {
            let line = format!("packetpony_connections_total{{{both},status=\"{status}\"}} 0");
            has(&text, &line);
        }
        has(&text, &format!("packetpony_connections_active{{{both}}} 0"));
        has(
            &text,
            &format!("packetpony_connection_duration_seconds_count{{{both}}} 0"),
        );
        for direction in ["sent", "received"] {
            let labels = format!("direction=\"{direction}\",listener=\"{listener}\"");
            has(
                &text,
                &format!("packetpony_bytes_transferred_total{{{labels}}} 0"),
            );
        }
        let labels = format!("listener=\"{listener}\"");
        has(&text, &format!("packetpony_acl_drops_total{{{labels}}} 0"));
        has(&text, &format!("packetpony_limited_clients{{{labels}}} 0"));
        for reason in [
            "attempt_limit",
            "total_limit",
            "connection_limit",
            "bandwidth_limit",
        ] {
            let labels = format!("{labels},reason=\"{reason}\"");
            has(
                &text,
                &format!("packetpony_rate_limit_drops_total{{{labels}}} 0"),
            );
            has(
                &text,
                &format!("packetpony_limit_violations_total{{{labels}}} 0"),
            );
        }
        for kind in ErrorKind::ALL {
            let labels = format!("{labels},type=\"{}\"", kind.as_str());
            has(&text, &format!("packetpony_errors_total{{{labels}}} 0"));
        }
    }
    for direction in ["sent", "received"] {
        let labels = format!("direction=\"{direction}\",listener=\"dns\"");
        has(
            &text,
            &format!("packetpony_packets_transferred_total{{{labels}}} 0"),
        );
    }
    has(&text, "packetpony_sessions_active{listener=\"dns\"} 0");
    assert!(
        !text.contains("packetpony_sessions_active{listener=\"web\"}"),
        "TCP has none"
    );
    assert!(
        !text.contains("packetpony_packets_transferred_total{direction=\"sent\",listener=\"web\"}")
    );
}

#[test]
fn what_belongs_to_no_listener_is_there_too() {
    let metrics = Metrics::new().unwrap();
    metrics.set_config_loaded(UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_900));
    let text = rendered(&metrics);
    for sink in ["stdout", "jsonlog", "syslog"] {
        has(
            &text,
            &format!("packetpony_log_events_dropped_total{{sink=\"{sink}\"}} 0"),
        );
    }
    has(
        &text,
        "packetpony_config_reload_timestamp_seconds 1700000000",
    );
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains("packetpony_build_info{commit=\""), "{text}");
    assert!(
        text.contains(&format!("\",version=\"{version}\"}} 1\n")),
        "{text}"
    );
    for name in [
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(&format!("# TYPE {name} gauge")), "{name}");
    }
}

#[test]
fn help_texts_types_and_buckets_are_those_that_dashboards_know() {
    let metrics = Metrics::new().unwrap();
    metrics.listener("web", Protocol::Tcp).unwrap();
    let text = rendered(&metrics);
    for (name, kind, help) in [
        (
            "connections_total",
            "counter",
            "Total number of connections",
        ),
        (
            "connections_active",
            "gauge",
            "Number of active connections",
        ),
        (
            "bytes_transferred_total",
            "counter",
            "Total bytes transferred",
        ),
        (
            "connection_duration_seconds",
            "histogram",
            "Connection duration in seconds",
        ),
        (
            "acl_drops_total",
            "counter",
            "Total connections dropped due to ACL",
        ),
        ("errors_total", "counter", "Total errors encountered"),
        (
            "rate_limit_drops_total",
            "counter",
            "Total connections dropped due to rate limiting",
        ),
    ] {
        has(&text, &format!("# HELP packetpony_{name} {help}"));
        has(&text, &format!("# TYPE packetpony_{name} {kind}"));
    }
    let bounds: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("packetpony_connection_duration_seconds_bucket"))
        .map(|line| {
            line.split("le=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        bounds,
        [
            "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256",
            "0.512", "1.024", "2.048", "4.096", "8.192", "16.384", "+Inf"
        ]
    );
}

#[test]
fn every_reason_has_a_metric() {
    let metrics = Metrics::new().unwrap();
    let listener = metrics.listener("web", Protocol::Tcp).unwrap();
    // Only the guard refuses what is malformed.
    let reasons = || {
        let all = Reason::ALL.into_iter();
        all.filter(|reason| *reason != Reason::Malformed)
    };
    for reason in reasons() {
        listener.refused(reason);
        if reason != Reason::Acl {
            listener.limit_hit(reason);
        }
        // Bans are not only observed.
        if reason.is_limit() {
            listener.violated(reason);
        }
    }
    let text = rendered(&metrics);
    for reason in reasons() {
        let labels = format!("listener=\"web\",reason=\"{}\"", reason.as_str());
        if reason == Reason::Acl {
            has(&text, "packetpony_acl_drops_total{listener=\"web\"} 1");
        } else {
            has(
                &text,
                &format!("packetpony_rate_limit_drops_total{{{labels}}} 2"),
            );
            let violations = format!("packetpony_limit_violations_total{{{labels}}} 1");
            assert_eq!(text.contains(&violations), reason.is_limit(), "{reason}");
        }
    }
    let limits = reasons().filter(|reason| *reason != Reason::Acl).count();
    let of = |status| {
        let labels = format!("listener=\"web\",protocol=\"tcp\",status=\"{status}\"");
        format!("packetpony_connections_total{{{labels}}}")
    };
    has(&text, &format!("{} 1", of("acl_denied")));
    has(&text, &format!("{} {limits}", of("rate_limited")));
}

#[test]
fn every_error_kind_counts_under_its_own_name() {
    let metrics = Metrics::new().unwrap();
    let listener = metrics.listener("web", Protocol::Tcp).unwrap();
    for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
        for _ in 0..=index {
            listener.error(kind);
        }
    }
    let text = rendered(&metrics);
    for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
        let labels = format!("listener=\"web\",type=\"{}\"", kind.as_str());
        has(
            &text,
            &format!("packetpony_errors_total{{{labels}}} {}", index + 1),
        );
    }
}

#[test]
fn every_slip_of_the_lane_counts_under_its_own_name() {
    let metrics = Metrics::new().unwrap();
    let shows = |slips: [u64; 5]| {
        let text = rendered(&metrics);
        for (slip, count) in Slip::ALL.into_iter().zip(slips) {
            let labels = format!("reason=\"{}\"", slip.as_str());
            has(
                &text,
                &format!("packetpony_lane_slips_total{{{labels}}} {count}"),
            );
        }
    };
    shows([0; 5]);
    for slips in [[1, 2, 3, 4, 5], [1, 2, 3, 4, 50]] {
        metrics.lanes().set_slips(slips);
        shows(slips);
    }
}

#[test]
fn sessions_are_the_active_ones_of_a_udp_listener() {
    let metrics = Metrics::new().unwrap();
    let listener = metrics.listener("dns", Protocol::Udp).unwrap();
    listener.active.inc();
    has(
        &rendered(&metrics),
        "packetpony_sessions_active{listener=\"dns\"} 1",
    );
    listener.active.dec();
    has(
        &rendered(&metrics),
        "packetpony_sessions_active{listener=\"dns\"} 0",
    );
}

#[test]
fn a_listener_that_comes_back_counts_on() {
    let metrics = Metrics::new().unwrap();
    metrics
        .listener("web", Protocol::Tcp)
        .unwrap()
        .accepted
        .inc();
    metrics
        .listener("web", Protocol::Tcp)
        .unwrap()
        .accepted
        .inc();
    assert_eq!(
        metrics
            .listener("web", Protocol::Tcp)
            .unwrap()
            .accepted
            .get(),
        2
    );
}

#[test]
fn what_is_counted_elsewhere_is_brought_up_to_date_before_it_is_shown() {
    let metrics = Metrics::new().unwrap();
    let listener = metrics.listener("web", Protocol::Tcp).unwrap();
    let handle = Arc::clone(&listener);
    metrics.refresh_with(move || handle.accepted.inc());
    for shown in 1..=2 {
        let line =
            "packetpony_connections_total{listener=\"web\",protocol=\"tcp\",status=\"accepted\"}";
        has(&rendered(&metrics), &format!("{line} {shown}"));
    }
}
