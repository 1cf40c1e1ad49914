//! What is answered to which path.

use std::sync::Arc;

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::task::spawn_blocking;

use crate::observe::{
    health::{Health, Readiness},
    metrics::Metrics,
};

/// Everything that answers are made from.
pub(super) struct Answers {
    path: String,
    metrics: Metrics,
    health: Arc<Health>,
}

pub(super) type Answer = Response<Full<Bytes>>;

impl Answers {
    pub(super) fn new(path: String, metrics: Metrics, health: Arc<Health>) -> Self {
        Self {
            path,
            metrics,
            health,
        }
    }

    /// The answer to a request for `path`, whatever its method.
    pub(super) async fn to(&self, path: &str) -> Answer {
        match path {
            "/health" | "/healthz" => answer(StatusCode::OK, JSON, HEALTHY),
            "/ready" => self.readiness(),
            path if path == self.path => self.metrics().await,
            _ => not_found(),
        }
    }

    fn readiness(&self) -> Answer {
        match self.health.readiness() {
            Readiness::Ready => answer(StatusCode::OK, JSON, READY),
            Readiness::Stopping => not_ready("stopping", &[]),
            Readiness::Unbound(listeners) => not_ready("listeners not bound", &listeners),
        }
    }

    /// Reading `/proc` and the kernel's counters may block, so it has a thread of its own.
    async fn metrics(&self) -> Answer {
        let metrics = self.metrics.clone();
        match spawn_blocking(move || metrics.render()).await {
            Ok(Ok(text)) => answer(StatusCode::OK, METRICS, text),
            Ok(Err(error)) => failed(&error.to_string()),
            Err(error) => failed(&error.to_string()),
        }
    }
}

/// Why clients should not be sent here.
#[derive(serde::Serialize)]
struct NotReady<'a> {
    status: &'static str,
    service: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    listeners: &'a [&'a str],
}

fn not_ready(reason: &'static str, listeners: &[Arc<str>]) -> Answer {
    let listeners: Vec<&str> = listeners.iter().map(AsRef::as_ref).collect();
    let body = NotReady {
        status: "not ready",
        service: "packetpony",
        reason,
        listeners: &listeners,
    };
    match serde_json::to_vec(&body) {
        Ok(body) => answer(StatusCode::SERVICE_UNAVAILABLE, JSON, body),
        Err(error) => failed(&error.to_string()),
    }
}

fn not_found() -> Answer {
    answer(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
}

fn failed(error: &str) -> Answer {
    answer(
        StatusCode::INTERNAL_SERVER_ERROR,
        TEXT,
        format!("{error}\n"),
    )
}

fn answer(status: StatusCode, content: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content);
    answer
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const HEALTHY: &str = r#"{"status":"healthy","service":"packetpony"}"#;
const READY: &str = r#"{"status":"ready","service":"packetpony"}"#;
