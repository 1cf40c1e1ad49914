//! The HTTP endpoint for metrics and health.
//!
//! It may face anybody, so every client is bounded: how many there are, how long each may take
//! to ask and to read, how large a request may be. It answers two kinds of question and never
//! reads a body.
//!
//! What always holds: no client keeps another one, or the end of the daemon, waiting. When all
//! places are taken the oldest connection makes room, so a probe is answered also while somebody
//! holds many connections open.

mod answer;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::answer::Answers;
use super::{health::Health, metrics::Metrics, throttle::Throttle};

/// Serves metrics at `path` and health beside it until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    path: String,
    metrics: Metrics,
    health: Arc<Health>,
    stop: CancellationToken,
) {
    let answers = Arc::new(Answers::new(path, metrics, health));
    serve_within(BOUNDS, listener, answers, stop).await;
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    answers: Arc<Answers>,
    stop: CancellationToken,
) {
    let failures = Throttle::new();
    let mut clients = Clients::new(bounds);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) => clients.add(client, &answers, &stop),
            Err(error) => pause_after(&error, &failures).await,
        }
    }
    drop(listener);
    clients.end().await;
}

/// What a client may take from us.
#[derive(Clone, Copy)]
struct Bounds {
    /// So many clients at once.
    clients: usize,
    /// How long a client may take to send a request, and how long it may be silent between two.
    patience: Duration,
    /// No connection lasts longer.
    longest: Duration,
    /// How long a client that must leave may go on reading.
    farewell: Duration,
}

const BOUNDS: Bounds = Bounds {
    clients: 64,
    patience: Duration::from_secs(10),
    longest: Duration::from_mins(1),
    farewell: Duration::from_millis(500),
};

/// The open connections, oldest first.
struct Clients {
    bounds: Bounds,
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl Clients {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            tasks: JoinSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Serves one more client; the oldest one leaves when there are too many.
    fn add(&mut self, client: TcpStream, answers: &Arc<Answers>, stop: &CancellationToken) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= self.bounds.clients
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        let task = converse(self.bounds, client, Arc::clone(answers), stop.clone());
        self.order.push_back(self.tasks.spawn(task));
    }

    /// Lets everybody read to the end who does so soon.
    async fn end(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Those who are left are cut when the set is dropped.
        timeout(self.bounds.farewell, all).await.ok();
    }
}

/// Answers the requests of one connection.
async fn converse(
    bounds: Bounds,
    client: TcpStream,
    answers: Arc<Answers>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.to(request.uri().path()).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.patience)
        .max_buf_size(MAX_REQUEST);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(client), service));
    tokio::select! {
        // A client that breaks off or talks nonsense is its own affair.
        _ended = conversation.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(bounds.longest) => {}
    }
    conversation.as_mut().graceful_shutdown();
    timeout(bounds.farewell, conversation).await.ok();
}

/// Waits before the next `accept` when resources ran out; the client stays in the backlog, so
/// an immediate retry would fail again.
async fn pause_after(error: &io::Error, failures: &Throttle) {
    if let Some(suppressed) = failures.allow(Instant::now()) {
        tracing::warn!(%error, suppressed, "metrics server failed to accept");
    }
    if matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    ) {
        sleep(PAUSE).await;
    }
}

/// The largest head of a request, in bytes.
const MAX_REQUEST: usize = 16 << 10;
/// How long accepting rests when resources ran out.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
