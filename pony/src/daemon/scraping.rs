//! The metrics endpoint at work.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{CUT_TIME, StartError};
use crate::{
    config::MetricsEndpoint,
    listen::bind_tcp,
    observe::{self, Health, Metrics},
};

/// Bound, and not yet asked anything.
pub(super) struct Endpoint {
    socket: TcpListener,
    path: String,
}

impl Endpoint {
    pub(super) fn bind(config: &MetricsEndpoint) -> Result<Self, StartError> {
        let what = "metrics.prometheus".to_owned();
        let socket = match bind_tcp((&config.listen).into()) {
            Err(source) => return Err(StartError::Bind { what, source }),
            Ok(socket) => TcpListener::from_std(socket),
        };
        Ok(Self {
            socket: socket.map_err(|source| StartError::Socket { what, source })?,
            path: config.path.clone(),
        })
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }
}

/// Answers scrapers and health checks.
pub(super) struct Scraping {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Scraping {
    pub(super) fn start(endpoint: Endpoint, metrics: Metrics, health: Arc<Health>) -> Self {
        let address = endpoint.address();
        let Endpoint { socket, path } = endpoint;
        if let Some(address) = address {
            info!(%address, path, "Prometheus metrics server started");
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(observe::serve(socket, path, metrics, health, stop.clone()));
        Self { stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // A scraper that does not take its answer is not waited for.
        drop(timeout(CUT_TIME, self.task).await);
    }
}
