use tracing::{debug, error, info, trace, warn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::{config::Logging, observe::metrics::Metrics};

/// What `write` logs through `tracing`, as lines of JSON without their timestamp.
fn logged(level: LevelFilter, write: impl FnOnce()) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let logging = Logging {
        json_file: Some(path.clone()),
        ..Logging::default()
    };
    let (log, sinks) = Log::start(&logging, &Metrics::new().unwrap()).unwrap();
    let subscriber = tracing_subscriber::registry().with(tracing_layer(log, level));
    tracing::subscriber::with_default(subscriber, write);
    sinks.flush(std::time::Duration::from_secs(20)).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let without_time = |line: &str| line[line.find(r#""level""#).unwrap()..].to_owned();
    text.lines().map(without_time).collect()
}

#[test]
fn an_event_becomes_a_message_with_its_fields_in_their_order() {
    let lines = logged(LevelFilter::INFO, || {
        let error = std::io::Error::other("broken");
        warn!(listener = "web", %error, suppressed = 3_u64, "TCP accept failed");
        info!(signed = -1, float = 0.5, truth = true, debug = ?Some(1), "types");
        error!(
            error = &error as &dyn std::error::Error,
            "{} text", "formatted"
        );
    });
    assert_eq!(
        lines,
        [
            r#""level":"warning","message":"TCP accept failed","listener":"web","error":"broken","suppressed":3}"#,
            r#""level":"info","message":"types","signed":-1,"float":0.5,"truth":true,"debug":"Some(1)"}"#,
            r#""level":"error","message":"formatted text","error":"broken"}"#,
        ]
    );
}

#[test]
fn events_below_the_level_are_not_logged() {
    let chatter = || {
        trace!("trace");
        debug!("debug");
        info!("info");
    };
    assert_eq!(logged(LevelFilter::INFO, chatter).len(), 1);
    let lines = logged(LevelFilter::DEBUG, chatter);
    assert_eq!(lines[0], r#""level":"debug","message":"debug"}"#);
    assert_eq!(lines.len(), 2);
}
