//! The configuration files that are shipped.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::*;
use crate::config::node::{Kind, Node};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn shipped(name: &str) -> Loaded {
    load(&folder().join(name)).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_shipped_file_loads_without_warnings() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(shipped(name).warnings, [], "{name}");
            count += 1;
        }
    }
    assert!(count >= 3, "quickstart, full and example");
}

#[test]
fn the_quickstart_listens_where_the_demo_says() {
    let config = shipped("quickstart.yaml").config;
    let places: Vec<(Protocol, String, String)> = config
        .listeners
        .iter()
        .map(|listener| {
            (
                listener.protocol,
                listener.listen.to_string(),
                listener.target.to_string(),
            )
        })
        .collect();
    let expected = [
        (
            Protocol::Tcp,
            "127.0.0.1:8080".to_owned(),
            "127.0.0.1:18080".to_owned(),
        ),
        (
            Protocol::Udp,
            "127.0.0.1:5353".to_owned(),
            "127.0.0.1:15353".to_owned(),
        ),
    ];
    assert_eq!(places, expected);
    let metrics = config.metrics.unwrap();
    assert_eq!(
        (metrics.listen.to_string(), metrics.path.as_str()),
        ("127.0.0.1:9090".to_owned(), "/metrics")
    );
    assert_eq!(config.logging.stdout, Some(StdoutFormat::Text));
}

#[test]
fn the_full_file_shows_every_key() {
    let path = folder().join("full.yaml");
    let root = document::parse(&fs::read_to_string(&path).unwrap(), &path).unwrap();
    let mut shown = BTreeSet::new();
    collect_keys(&root, "", &mut shown);
    for (block, keys) in schema::SECTIONS {
        for key in *keys {
            let key = if block.is_empty() {
                (*key).to_owned()
            } else {
                format!("{block}.{key}")
            };
            assert!(shown.contains(&key), "{key} is not in full.yaml");
        }
    }
}

fn collect_keys(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
    match &node.kind {
        Kind::List(items) => items
            .iter()
            .for_each(|item| collect_keys(item, &format!("{path}[]"), keys)),
        Kind::Map(members) => {
            for (key, value) in members {
                let key = key.kind.shown().unwrap();
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                collect_keys(value, &path, keys);
                keys.insert(path);
            }
        }
        _ => {}
    }
}

#[test]
fn the_full_file_shows_the_defaults_of_optional_keys() {
    let config = shipped("full.yaml").config;
    let defaults = config_of(&file_with(&[]));
    assert_eq!(
        config.server.shutdown_timeout,
        defaults.server.shutdown_timeout
    );
    assert_eq!(config.server.resolve_ttl, defaults.server.resolve_ttl);
    assert_eq!(config.guard, defaults.guard);
    assert_eq!(config.admin, defaults.admin);
    let [web, dns] = &config.listeners[..] else {
        panic!("two listeners")
    };
    assert_eq!(web.limits.ipv6_prefix, Limits::default().ipv6_prefix);
    assert_eq!(web.tcp.connect_timeout, Tcp::default().connect_timeout);
    assert_eq!(web.tcp.keepalive, Tcp::default().keepalive);
    assert_eq!(web.session_log, SessionLog::SESSIONS);
    assert_eq!(
        (&dns.udp, &dns.session_log),
        (&Udp::default(), &SessionLog::SESSIONS)
    );
}
