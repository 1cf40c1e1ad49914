//! What the values of a file become, and what is there when a key is left out.

use std::time::Duration;

use pony_common::limit::{Action, BandwidthLimit};
use pony_common::time::Nanos;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn listener_of(edits: &[(&str, &str)]) -> Listener {
    config_of(&file_with(edits)).listeners.remove(0)
}

#[test]
fn what_is_left_out_takes_its_default() {
    let config = config_of(&file_with(&[]));
    assert_eq!(config.server.shutdown_timeout, 30 * SECOND);
    assert_eq!(config.server.resolve_ttl, 30 * SECOND);
    assert_eq!(
        config.logging,
        Logging {
            stdout: Some(StdoutFormat::Text),
            ..Logging::default()
        }
    );
    assert_eq!(config.metrics, None);
    assert_eq!(
        config.guard,
        Guard {
            mode: GuardMode::Auto,
            interfaces: Interfaces::Auto,
            attach: AttachMode::Auto,
            refuse: Refuse::Drop,
            max_clients: 65_536,
            max_blocks: 16_384,
            instance: None,
            kernel_log: None,
        }
    );

    let listener = &config.listeners[0];
    assert_eq!(listener.limits, Limits::default());
    assert_eq!(listener.limits.ipv6_prefix, 64);
    assert_eq!(listener.limits.action, Action::Drop);
    assert_eq!(listener.tcp.connect_timeout, 10 * SECOND);
    assert_eq!(listener.tcp.keepalive, Some(15 * SECOND));
    assert_eq!(listener.tcp.idle_timeout, None);
    assert_eq!(
        listener.udp,
        Udp {
            session_timeout: 30 * SECOND,
            buffer_size: 4096
        }
    );
    assert_eq!(listener.session_log, SessionLog::CONNECTIONS);
}

#[test]
fn every_member_of_server_is_read() {
    let config = config_of(&file_with(&[(
        "server",
        "{name: a b, shutdown_timeout: 0s, resolve_ttl: 1h30m, threads: 3}",
    )]));
    let server = Server {
        name: "a b".to_owned(),
        shutdown_timeout: Duration::ZERO,
        resolve_ttl: 5400 * SECOND,
        threads: Some(3),
    };
    assert_eq!(config.server, server);
}

#[test]
fn what_tcp_flows_share_is_read() {
    // Listeners have a block of the same name.
    let memory = |block: &str| config_of(&file_with(&[("admin", block)])).tcp.memory;
    assert_eq!(memory("{}"), None);
    assert_eq!(memory("{}\ntcp: {memory: 1.5GB}"), Some(3 << 29));
    assert_eq!(memory("{}\ntcp: {memory: 16MB}"), Some(16 << 20));
}

#[test]
fn every_way_to_log_is_read() {
    let logging = config_of(&file_with(&[(
        "logging",
        "{stdout: {enabled: yes, use_json: On}, jsonlog: {enabled: true, path: a.json}, \
         syslog: {enabled: TRUE, network: TCP, address: 'logs:514', tag: proxy, priority: Warning}}",
    )]))
    .logging;
    assert_eq!(logging.stdout, Some(StdoutFormat::Json));
    assert_eq!(logging.json_file, Some("a.json".into()));
    let receiver = HostPort {
        host: Host::Name("logs".to_owned()),
        port: 514,
    };
    let syslog = Syslog {
        transport: SyslogTransport::Tcp(receiver),
        tag: "proxy".to_owned(),
        priority: Severity::Warning,
    };
    assert_eq!(logging.syslog, Some(syslog));
}

#[test]
fn syslog_transports_follow_network_and_address() {
    let rows = [
        ("", "Local"),
        (", network: ''", "Local"),
        (", network: '', address: /dev/log", "Unix(\"/dev/log\")"),
        (", address: /run/log", "Unix(\"/run/log\")"),
        (", network: unix, address: /run/log", "Unix(\"/run/log\")"),
        (
            ", network: udp, address: '[::1]:syslog'",
            "Udp(HostPort { host: Ip(::1), port: 514 })",
        ),
    ];
    for (members, expected) in rows {
        let text = file_with(&[(
            "logging",
            &format!("{{syslog: {{enabled: true{members}}}}}"),
        )]);
        let syslog = config_of(&text).logging.syslog.unwrap();
        assert_eq!(format!("{:?}", syslog.transport), expected, "{members}");
        assert_eq!(
            (syslog.tag.as_str(), syslog.priority),
            ("pony", Severity::Info)
        );
    }
}

#[test]
fn what_is_not_enabled_is_not_there_but_still_checked() {
    let text = file_with(&[
        (
            "logging",
            "{stdout: {enabled: true}, jsonlog: {enabled: no}, syslog: {enabled: off, network: udp}}",
        ),
        ("metrics", "{prometheus: {enabled: false}}"),
    ]);
    let config = config_of(&text);
    assert_eq!(config.logging.json_file, None);
    assert_eq!(config.logging.syslog, None);
    assert_eq!(config.metrics, None);
}

#[test]
fn metrics_have_a_default_path() {
    let metrics = config_of(&file_with(&[(
        "metrics",
        "{prometheus: {enabled: true, listen_address: ':9090'}}",
    )]));
    let endpoint = MetricsEndpoint {
        listen: HostPort {
            host: Host::Any,
            port: 9090,
        },
        path: "/metrics".to_owned(),
    };
    assert_eq!(metrics.metrics, Some(endpoint));
}

#[test]
fn the_guard_has_modes_and_interfaces() {
    let rows = [
        ("{mode: off}", GuardMode::Off, Interfaces::Auto),
        ("{mode: OFF}", GuardMode::Off, Interfaces::Auto),
        ("{mode: false}", GuardMode::Off, Interfaces::Auto),
        ("{mode: no}", GuardMode::Off, Interfaces::Auto),
        (
            "{mode: auto, interfaces: auto}",
            GuardMode::Auto,
            Interfaces::Auto,
        ),
        (
            "{mode: require, interfaces: [eth0, eth1, eth0]}",
            GuardMode::Require,
            Interfaces::Names(vec!["eth0".to_owned(), "eth1".to_owned()]),
        ),
    ];
    for (value, mode, interfaces) in rows {
        assert_eq!(
            config_of(&file_with(&[("guard", value)])).guard,
            Guard {
                mode,
                interfaces,
                ..Guard::default()
            },
            "{value}"
        );
    }
}

#[test]
fn the_guard_has_sizes_and_manners() {
    let guard_of = |value| config_of(&file_with(&[("guard", value)])).guard;
    let guard = guard_of("{attach: native, refuse: reset, max_clients: 1_000_000, max_blocks: 1}");
    let expected = Guard {
        attach: AttachMode::Native,
        refuse: Refuse::Reset,
        max_clients: 1_000_000,
        max_blocks: 1,
        instance: None,
        kernel_log: None,
        ..Guard::default()
    };
    assert_eq!(guard, expected);
    let guard = guard_of("{attach: Generic, refuse: drop, max_clients: 1024}");
    assert_eq!(
        (guard.attach, guard.refuse, guard.max_clients),
        (AttachMode::Generic, Refuse::Drop, 1_024)
    );
}

#[test]
fn protocols_and_actions_are_read_in_any_case() {
    for (protocol, expected) in [
        ("TCP", Protocol::Tcp),
        ("Udp", Protocol::Udp),
        ("udp", Protocol::Udp),
    ] {
        assert_eq!(
            listener_of(&[("protocol", protocol)]).protocol,
            expected,
            "{protocol}"
        );
    }
    for (action, expected) in [
        ("DROP", Action::Drop),
        ("Log_Only", Action::LogOnly),
        ("log_only", Action::LogOnly),
    ] {
        let limits = listener_of(&[("rate_limits", &format!("{{action: {action}}}"))]).limits;
        assert_eq!(limits.action, expected, "{action}");
    }
}

#[test]
fn every_limit_is_read() {
    let limits = listener_of(&[(
        "rate_limits",
        "{max_connections_per_ip: 0x10, connections_window: 1m, max_connection_attempts_per_ip: 1_000, \
         attempts_window: '30s', max_bandwidth_per_ip: 1.5 mb, bandwidth_window: 1m30s, \
         max_total_connections: 7, action: THROTTLE, throttle_minimum: 1024, ipv6_prefix: 56}",
    )])
    .limits;
    let expected = Limits {
        max_connections_per_ip: Some(16),
        attempts: Some(AttemptLimit {
            max: 1000,
            window: 30 * SECOND,
        }),
        bandwidth: Some(BandwidthLimit {
            limit: 3 << 19,
            window: Nanos::from_secs(90),
            action: Action::Throttle,
            throttle_minimum: 1024,
        }),
        max_total_connections: Some(7),
        action: Action::Throttle,
        ipv6_prefix: 56,
    };
    assert_eq!(limits, expected);
}

#[test]
fn a_limit_of_zero_is_no_limit_and_needs_no_window() {
    let zeros = [
        "{max_connections_per_ip: 0, max_connection_attempts_per_ip: 0, max_total_connections: 0}",
        "{max_bandwidth_per_ip: 0}",
        "{max_bandwidth_per_ip: '0'}",
        "{max_bandwidth_per_ip: 0B, bandwidth_window: 1m}",
        "{max_bandwidth_per_ip: ''}",
    ];
    for zero in zeros {
        assert_eq!(
            listener_of(&[("rate_limits", zero)]).limits,
            Limits::default(),
            "{zero}"
        );
    }
}

#[test]
fn connections_are_limited_with_and_without_their_window() {
    for value in [
        "{max_connections_per_ip: 5}",
        "{max_connections_per_ip: 5, connections_window: 1m}",
        "{max_connections_per_ip: 5, connections_window: 0s}",
    ] {
        let limits = listener_of(&[("rate_limits", value)]).limits;
        assert_eq!(
            limits,
            Limits {
                max_connections_per_ip: Some(5),
                ..Limits::default()
            },
            "{value}"
        );
    }
}

#[test]
fn tcp_timeouts_are_read_and_zero_is_none() {
    let tcp = listener_of(&[("tcp", "{lane: Splice, read_timeout: 9m, write_timeout: 30s, idle_timeout: 5m, connect_timeout: 3s, keepalive: 1m}")]).tcp;
    let expected = Tcp {
        lane: Some(Lane::Splice),
        read_timeout: Some(540 * SECOND),
        write_timeout: Some(30 * SECOND),
        idle_timeout: Some(300 * SECOND),
        connect_timeout: 3 * SECOND,
        keepalive: Some(60 * SECOND),
    };
    assert_eq!(tcp, expected);

    let tcp = listener_of(&[(
        "tcp",
        "{read_timeout: 0s, write_timeout: 0s, idle_timeout: 0s, keepalive: 0s}",
    )])
    .tcp;
    assert_eq!(
        tcp,
        Tcp {
            keepalive: None,
            ..Tcp::default()
        }
    );
}

#[test]
fn members_of_udp_that_are_left_out_take_their_defaults() {
    let rows = [
        ("", 30, 4096),
        ("{}", 30, 4096),
        ("{session_timeout: 5s}", 5, 4096),
        ("{buffer_size: 65536}", 30, 65536),
    ];
    for (value, seconds, buffer_size) in rows {
        let listener = listener_of(&[("protocol", "udp"), ("udp", value)]);
        assert_eq!(
            listener.udp,
            Udp {
                session_timeout: seconds * SECOND,
                buffer_size
            },
            "{value}"
        );
        assert_eq!(listener.session_log, SessionLog::SESSIONS, "{value}");
    }
}

#[test]
fn members_of_session_logging_that_are_left_out_take_their_defaults() {
    let few = "{logging: {log_session_start: no, min_log_duration: 5s}}";
    let expected = SessionLog {
        start: false,
        min_duration: 5 * SECOND,
        ..SessionLog::SESSIONS
    };
    assert_eq!(
        listener_of(&[("protocol", "udp"), ("udp", few)]).session_log,
        expected
    );
    assert_eq!(listener_of(&[("tcp", few)]).session_log, expected);
    // A block without members is there, too.
    assert_eq!(
        listener_of(&[("tcp", "{logging: {}}")]).session_log,
        SessionLog::SESSIONS
    );

    let off = "{logging: {log_session_close: off, periodic_log_interval: 0s, periodic_log_bytes: 0, min_log_bytes: 1KB}}";
    let expected = SessionLog {
        close: false,
        interval: None,
        bytes: None,
        min_bytes: 1024,
        ..SessionLog::SESSIONS
    };
    assert_eq!(
        listener_of(&[("protocol", "udp"), ("udp", off)]).session_log,
        expected
    );
}

#[test]
fn the_logging_of_the_other_protocol_does_not_count() {
    let listener = listener_of(&[("udp", "{logging: {log_session_start: false}}")]);
    assert_eq!(listener.session_log, SessionLog::CONNECTIONS);
}

#[test]
fn merge_keys_fill_in_what_a_block_does_not_say() {
    let text = file_with(&[
        (
            "guard",
            "\nx-slow: &slow {action: log_only, max_total_connections: 5, max_connections_per_ip: 1}\nx-v6: &v6 {ipv6_prefix: 48, action: drop}",
        ),
        (
            "rate_limits",
            "{max_connections_per_ip: 9, <<: [*slow, *v6]}",
        ),
    ]);
    let limits = config_of(&text).listeners.remove(0).limits;
    assert_eq!(limits.max_connections_per_ip, Some(9));
    assert_eq!(limits.max_total_connections, Some(5));
    assert_eq!(limits.action, Action::LogOnly);
    assert_eq!(limits.ipv6_prefix, 48);
}

#[test]
fn values_may_carry_tags_and_come_from_aliases() {
    let text = file_with(&[
        ("server", "{name: !mine &me here}"),
        ("name", "*me"),
        ("rate_limits", "{max_total_connections: !!int 5}"),
    ]);
    let config = config_of(&text);
    assert_eq!(&*config.listeners[0].name, "here");
    assert_eq!(config.listeners[0].limits.max_total_connections, Some(5));
}
