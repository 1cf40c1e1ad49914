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
fn a_protocol_with_a_number_keeps_to_one_family() {
    let rows = [
        ("tcp4 :80", "0.0.0.0:80", false),
        ("tcp6 :80", "[::]:80", true),
        ("udp4 192.0.2.1:53", "192.0.2.1:53", false),
        ("UDP6 [2001:db8::1]:53", "[2001:db8::1]:53", true),
        ("tcp6 localhost:80", "localhost:80", true),
        ("tcp :80", ":80", false),
    ];
    for (listener, address, v6_only) in rows {
        let config = config_of(&listening(&[listener], None));
        let read = &config.listeners[0];
        assert_eq!(read.listen.to_string(), address, "{listener}");
        assert_eq!(read.v6_only, v6_only, "{listener}");
        let number = read.family.map(|family| match family {
            Family::V4 => '4',
            Family::V6 => '6',
        });
        let name = listener.split(' ').next().unwrap();
        assert_eq!(
            number,
            name.chars().find(char::is_ascii_digit),
            "{listener}"
        );
        assert_eq!(
            read.protocol.as_str(),
            name[..3].to_lowercase(),
            "{listener}"
        );
    }
}

#[test]
fn only_who_asks_for_it_is_transparent() {
    let is_transparent =
        |edits: &[(&str, &str)]| config_of(&file_with(edits)).listeners[0].transparent;
    assert!(!is_transparent(&[]));
    assert!(is_transparent(&[("udp", "\n  transparent: true")]));
}

#[test]
fn listeners_of_two_families_never_meet_and_are_not_warned_of() {
    let rows: [&[&str]; 4] = [
        &["tcp4 :80", "tcp6 :80"],
        &["tcp6 :80", "tcp4 127.0.0.1:80"],
        &["tcp4 localhost:80", "tcp6 localhost:80"],
        &["udp6 [::]:53", "udp 127.0.0.1:53"],
    ];
    for listeners in rows {
        assert_eq!(
            warnings_of(&listening(listeners, None)),
            [],
            "{listeners:?}"
        );
    }
    problems_of(&listening(&["tcp4 localhost:80", "tcp localhost:80"], None));
    problems_of(&listening(&["tcp6 :80", "tcp [::1]:80"], None));
}

#[test]
fn no_two_ranges_may_have_a_port_of_an_address_in_common() {
    let apart: [&[&str]; 6] = [
        &["tcp :1000-2000", "tcp :2001-3000"],
        &["tcp :1000-2000", "udp :1000-2000"],
        &["tcp6 :1000-2000", "tcp4 :1000-2000"],
        &["tcp 192.0.2.0/25:80-90", "tcp 192.0.2.128/25:80-90"],
        // Who has one port has it, within a range too.
        &["tcp :1000-2000", "tcp :1500", "tcp 127.0.0.1:1000"],
        &["tcp [::]:1500", "tcp 0.0.0.0:1000-2000"],
    ];
    for listeners in apart {
        assert_eq!(
            warnings_of(&listening(listeners, None)),
            [],
            "{listeners:?}"
        );
    }
    let meeting = [
        ["tcp :1000-2000", "tcp :2000-3000"],
        ["tcp :1000-2000", "tcp 0.0.0.0:1500-1501"],
        ["tcp 192.0.2.0/24:80", "tcp [::]:1-100"],
        ["udp4 192.0.2.0/24:80", "udp 192.0.2.1:79-80"],
    ];
    for listeners in meeting {
        let problems = problems_of(&listening(&listeners, None));
        let [problem] = &problems[..] else {
            panic!("{listeners:?}: {problems:#?}")
        };
        assert_eq!(problem.key, "listeners[1].listen_address");
        let message = "overlaps with listeners[0].listen_address";
        assert_eq!(problem.message, message, "{listeners:?}");
    }
}

#[test]
fn a_range_is_reached_at_all_its_ports_and_keeps_to_the_family_of_the_protocol() {
    let rows = [
        ("tcp :10-20", Some("[::]:10-20"), ":10", false),
        ("tcp4 :10-20", Some("0.0.0.0:10-20"), "0.0.0.0:10", false),
        ("tcp6 :10-20", Some("[::]:10-20"), "[::]:10", true),
        (
            "udp 192.0.2.0/24:53",
            Some("192.0.2.0/24:53"),
            "192.0.2.0:53",
            false,
        ),
        ("udp 192.0.2.1:53", None, "192.0.2.1:53", false),
    ];
    for (listener, span, listen, v6_only) in rows {
        let config = config_of(&listening(&[listener], None));
        let read = &config.listeners[0];
        let shown = read.span.as_ref().map(ToString::to_string);
        assert_eq!(shown.as_deref(), span, "{listener}");
        assert_eq!(read.listen.to_string(), listen, "{listener}");
        assert_eq!(read.v6_only, v6_only, "{listener}");
    }
    problems_of(&listening(&["tcp6 192.0.2.0/24:80"], None));
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
