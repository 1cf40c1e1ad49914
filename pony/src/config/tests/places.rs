//! Names and addresses that are used more than once.

use std::fmt::Write as _;

use super::*;

/// A file with one listener for each `protocol address`, and metrics at the last argument.
fn listening(listeners: &[&str], metrics: Option<&str>) -> String {
    let mut text = "server: {name: x}\nlogging: {stdout: {enabled: true}}\nlisteners:\n".to_owned();
    for (index, listener) in listeners.iter().enumerate() {
        let (protocol, address) = listener.split_once(' ').unwrap();
        writeln!(
            text,
            "- {{name: l{index}, protocol: {protocol}, listen_address: '{address}', \
             target_address: 'a:1', allowlist: ['::/0']}}"
        )
        .unwrap();
    }
    if let Some(address) = metrics {
        writeln!(
            text,
            "metrics: {{prometheus: {{enabled: true, listen_address: '{address}'}}}}"
        )
        .unwrap();
    }
    text
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn one_address_cannot_be_used_twice_however_it_is_spelled() {
    let rows = [
        (
            "tcp 0.0.0.0:80",
            "tcp 0.0.0.0:80",
            "is already the address of",
        ),
        (
            "tcp 127.0.0.1:80",
            "TCP 127.0.0.1:0080",
            "is already the address of",
        ),
        (
            "tcp 127.0.0.1:80",
            "tcp 127.0.0.1:http",
            "is already the address of",
        ),
        (
            "udp [::]:80",
            "udp [0:0:0:0:0:0:0:0]:80",
            "is already the address of",
        ),
        ("tcp [::]:80", "tcp :80", "is already the address of"),
        (
            "tcp [::ffff:1.2.3.4]:80",
            "tcp 1.2.3.4:80",
            "is already the address of",
        ),
        (
            "tcp [2001:db8::1]:80",
            "tcp [2001:0DB8:0::0001]:80",
            "is already the address of",
        ),
        (
            "tcp localhost:80",
            "tcp LocalHost.:80",
            "is already the address of",
        ),
        ("tcp 0.0.0.0:80", "tcp 1.2.3.4:80", "overlaps with"),
        ("udp 1.2.3.4:80", "udp 0.0.0.0:80", "overlaps with"),
        ("tcp [::]:80", "tcp [::1]:80", "overlaps with"),
        ("tcp :80", "tcp [::1]:80", "overlaps with"),
        (
            "tcp [::ffff:0.0.0.0]:80",
            "tcp 0.0.0.0:80",
            "is already the address of",
        ),
    ];
    for (first, second, relation) in rows {
        let problems = problems_of(&listening(&[first, second], None));
        let [problem] = &problems[..] else {
            panic!("{first} {second}: {problems:#?}")
        };
        assert_eq!(problem.key, "listeners[1].listen_address", "{problem}");
        assert_eq!(problem.line, Some(5), "{problem}");
        assert_eq!(
            problem.message,
            format!("{relation} listeners[0].listen_address"),
            "{problem}"
        );
        let remedy = "use another port or address (the first is in line 4)";
        assert_eq!(problem.remedy.as_deref(), Some(remedy), "{problem}");
    }
}

#[test]
fn addresses_that_differ_live_side_by_side() {
    let rows: [&[&str]; 7] = [
        &["tcp 0.0.0.0:53", "udp 0.0.0.0:53"],
        &["tcp 127.0.0.1:80", "tcp 127.0.0.2:80"],
        &["tcp 127.0.0.1:80", "tcp 127.0.0.1:81"],
        &["tcp 127.0.0.1:0", "tcp 127.0.0.1:0"],
        &["tcp [::1]:80", "tcp 127.0.0.1:80"],
        &["tcp [::1]:80", "tcp 0.0.0.0:80"],
        &["tcp a:80", "tcp b:80", "tcp 127.0.0.1:80"],
    ];
    for listeners in rows {
        let config = config_of(&listening(listeners, None));
        assert!(
            config.listeners.iter().all(|listener| !listener.v6_only),
            "{listeners:?}"
        );
    }
}

#[test]
fn the_ipv6_wildcard_leaves_ipv4_to_those_who_have_the_port_there() {
    let rows: [(&[&str], &[bool]); 6] = [
        (&["tcp [::]:80"], &[false]),
        (&["tcp :80"], &[false]),
        (&["tcp 0.0.0.0:80", "tcp [::]:80"], &[false, true]),
        (&["tcp :80", "tcp 0.0.0.0:80"], &[true, false]),
        (
            &["tcp [::]:80", "udp 0.0.0.0:80", "tcp 0.0.0.0:81"],
            &[false, false, false],
        ),
        (&["udp [::]:80", "udp 127.0.0.1:80"], &[true, false]),
    ];
    for (listeners, expected) in rows {
        let config = config_of(&listening(listeners, None));
        let v6_only: Vec<bool> = config
            .listeners
            .iter()
            .map(|listener| listener.v6_only)
            .collect();
        assert_eq!(v6_only, expected, "{listeners:?}");
    }
}

#[test]
fn a_wildcard_that_loses_most_of_ipv4_is_warned_of() {
    assert_eq!(
        warnings_of(&listening(&["tcp [::]:80", "tcp 0.0.0.0:80"], None)),
        []
    );
    let warnings = warnings_of(&listening(&["tcp [::]:80", "tcp 127.0.0.1:80"], None));
    assert_eq!(warnings[0].key, "listeners[0].listen_address");
    assert!(
        warnings[0]
            .message
            .contains("serves IPv6 only: listeners[1].listen_address"),
        "{}",
        warnings[0]
    );
}

#[test]
fn the_metrics_endpoint_is_a_tcp_listener_among_the_others() {
    let clashes = [
        ("tcp 127.0.0.1:80", "127.0.0.1:80"),
        ("tcp 127.0.0.1:80", "0.0.0.0:80"),
        ("tcp 127.0.0.1:80", ":80"),
        ("tcp [::]:80", ":80"),
    ];
    for (listener, metrics) in clashes {
        let problems = problems_of(&listening(&[listener], Some(metrics)));
        assert_eq!(problems.len(), 1, "{listener} {metrics}");
        assert_eq!(problems[0].key, "metrics.prometheus.listen_address");
        assert!(problems[0].message.contains("listeners[0].listen_address"));
    }
    config_of(&listening(&["udp 127.0.0.1:80"], Some("127.0.0.1:80")));
    assert!(config_of(&listening(&["tcp [::]:80"], Some("127.0.0.1:80"))).listeners[0].v6_only);
}

#[test]
fn a_metrics_endpoint_that_is_off_takes_no_address() {
    let text =
        listening(&["tcp :80"], Some(":80")).replace("enabled: true, l", "enabled: false, l");
    config_of(&text);
}

#[test]
fn listeners_have_names_of_their_own() {
    let text = listening(&["tcp :80", "tcp :81", "tcp :82"], None).replace("l2", "l0");
    let problems = problems_of(&text);
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].to_string(),
        "pony.yaml:6: listeners[2].name: \"l0\" is the name of another listener\n    \
         write a unique name (the first is in line 4)"
    );
}
