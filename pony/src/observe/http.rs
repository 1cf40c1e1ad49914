//! The HTTP endpoint for metrics and health.
//!
//! It answers two kinds of question, whatever the method, and never reads a body.

use std::sync::Arc;

use hyper::{Request, StatusCode, body::Incoming, header::HeaderValue};
use tokio::{net::TcpListener, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    health::{Health, Readiness},
    metrics::Metrics,
};
use crate::http::{self, Answer, BOUNDS, Bounds, JSON, TEXT, answer, failed};

/// Serves metrics at `path` and health beside it until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    path: String,
    metrics: Metrics,
    health: Arc<Health>,
    stop: CancellationToken,
) {
    let answers = Answers {
        path,
        metrics,
        health,
    };
    serve_within(BOUNDS, listener, answers, stop).await;
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    answers: Answers,
    stop: CancellationToken,
) {
    http::serve("metrics", bounds, listener, Arc::new(answers), stop).await;
}

/// Everything that answers are made from.
struct Answers {
    path: String,
    metrics: Metrics,
    health: Arc<Health>,
}

impl http::Answers for Answers {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.to(request.uri().path()).await
    }
}

impl Answers {
    async fn to(&self, path: &str) -> Answer {
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

const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const HEALTHY: &str = r#"{"status":"healthy","service":"packetpony"}"#;
const READY: &str = r#"{"status":"ready","service":"packetpony"}"#;

#[cfg(test)]
mod tests;
