//! A small HTTP server: for metrics and health, and for what operators ask.
//!
//! It may face anybody, so every client is bounded: how many there are, how long each may take
//! to ask and to read, how large a request may be. What is answered is for others to say.
//!
//! What always holds: no client keeps another one, or the end of the daemon, waiting. When all
//! places are taken the oldest connection makes room, so a probe is answered also while somebody
//! holds many connections open.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::observe::Throttle;

/// Where clients come from.
pub(crate) trait Accept: Send {
    /// The connection of one.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(client, _)| client)
    }
}

/// What is answered.
pub(crate) trait Answers: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A whole answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Serves the clients of `listener` until `stop` is cancelled. `name` is for the log.
pub(crate) async fn serve(
    name: &'static str,
    bounds: Bounds,
    listener: impl Accept,
    answers: Arc<impl Answers>,
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
            Ok(client) => clients.add(client, &answers, &stop),
            Err(error) => pause_after(name, &error, &failures).await,
        }
    }
    drop(listener);
    clients.end().await;
}

/// What a client may take from us.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// So many clients at once.
    pub(crate) clients: usize,
    /// How long a client may take to send a request, and how long it may be silent between two.
    pub(crate) patience: Duration,
    /// No connection lasts longer.
    pub(crate) longest: Duration,
    /// How long a client that must leave may go on reading.
    pub(crate) farewell: Duration,
}

/// For any server.
pub(crate) const BOUNDS: Bounds = Bounds {
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
    fn add(
        &mut self,
        client: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        answers: &Arc<impl Answers>,
        stop: &CancellationToken,
    ) {
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
    client: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    answers: Arc<impl Answers>,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
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
async fn pause_after(name: &str, error: &io::Error, failures: &Throttle) {
    if let Some(suppressed) = failures.allow(Instant::now()) {
        tracing::warn!(%error, suppressed, "{name} server failed to accept");
    }
    if matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    ) {
        sleep(PAUSE).await;
    }
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyError {
    /// It has more than [`MAX_BODY`] bytes.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// The client broke off.
    Broken,
}

/// Reads the body of a request.
pub(crate) async fn body(bounds: Bounds, body: Incoming) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge);
    }
    let reading = Limited::new(body, MAX_BODY).collect();
    match timeout(bounds.patience, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TooSlow),
    }
}

/// An answer with this body.
pub(crate) fn answer(status: StatusCode, content: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content);
    answer
}

/// An answer that says what went wrong here.
pub(crate) fn failed(error: &str) -> Answer {
    answer(
        StatusCode::INTERNAL_SERVER_ERROR,
        TEXT,
        format!("{error}\n"),
    )
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 16 << 10;
/// The largest head of a request, in bytes.
const MAX_REQUEST: usize = 16 << 10;
/// How long accepting rests when resources ran out.
const PAUSE: Duration = Duration::from_millis(50);
