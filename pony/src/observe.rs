//! What the daemon tells the outside: events, messages, metrics, health.
//!
//! Owns the sinks of the log and their forms, every metric of the daemon, and the HTTP endpoint
//! that shows metrics and health. It decides nothing about traffic and calls no other part of the
//! daemon; the others hand it events and count through the handles they got from it.
//!
//! What always holds:
//!
//! - Nothing here delays traffic. Events go to bounded queues; what does not fit is counted.
//! - No control character reaches a log line, whoever sent it.
//! - No metric label comes from a client.

mod escape;
mod event;
#[cfg(test)]
mod fixture;
mod health;
mod http;
mod json;
mod layer;
mod log;
mod metrics;
mod queue;
mod record;
mod recorder;
mod session_log;
mod sink;
mod text;
mod throttle;
mod worker;

pub use self::event::{EventKind, FlowEvent, Message, Passage, Value};
pub use self::health::{Health, Readiness};
pub use self::http::serve;
pub use self::layer::{LogLayer, tracing_layer};
pub use self::log::{FlushError, Log, LogError, Sinks};
pub use self::metrics::{
    ErrorKind, GuardMetrics, HeaderMetrics, HeaderResult, LaneMetrics, ListenerMetrics, Metrics,
    MetricsError,
};
pub use self::record::{Direction, FlowRecord, Party};
pub use self::recorder::Recorder;
pub use self::session_log::SessionLogger;
pub use self::throttle::Throttle;
