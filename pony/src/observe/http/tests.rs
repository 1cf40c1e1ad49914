use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::{error::Elapsed, timeout},
};

use super::*;
use crate::config::Protocol;

const LONG: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    metrics: Metrics,
    health: Arc<Health>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::within(BOUNDS).await
    }

    async fn within(bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new().unwrap();
        let health = Arc::new(Health::new(["web".into(), "dns".into()]));
        let stop = CancellationToken::new();
        let answers = Answers {
            path: "/metrics".to_owned(),
            metrics: metrics.clone(),
            health: Arc::clone(&health),
        };
        let served = serve_within(bounds, listener, answers, stop.clone());
        let task = tokio::spawn(served);
        Self {
            address,
            metrics,
            health,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `head` and reads until the server ends the connection.
    async fn ask(&self, head: &str) -> String {
        let mut client = self.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        timeout(LONG, read_to_end(&mut client)).await.unwrap()
    }

    /// The status line, the headers and the body of an answer.
    async fn get(&self, path: &str) -> (String, String, String) {
        let answer = self.ask(&request("GET", path)).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        (status.to_owned(), headers.to_lowercase(), body.to_owned())
    }
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: pony\r\nConnection: close\r\n\r\n")
}

async fn read_to_end(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that was cut may end with a reset.
    client.read_to_end(&mut answer).await.ok();
    String::from_utf8(answer).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable";

#[tokio::test]
async fn tells_that_it_is_alive_whatever_the_method() {
    let server = Server::start().await;
    for path in ["/health", "/healthz"] {
        let (status, headers, body) = server.get(path).await;
        assert_eq!(status, OK);
        assert!(
            headers.contains("content-type: application/json"),
            "{headers}"
        );
        assert!(headers.contains("content-length: 43"), "{headers}");
        assert_eq!(body, r#"{"status":"healthy","service":"packetpony"}"#);
    }
    let answer = server.ask(&request("DELETE", "/health")).await;
    assert!(answer.starts_with(OK), "{answer}");
    let answer = server.ask(&request("HEAD", "/health")).await;
    assert!(
        answer.starts_with(OK) && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn is_ready_only_while_every_listener_is_bound_and_nobody_stops_it() {
    let server = Server::start().await;
    let (status, headers, body) = server.get("/ready").await;
    assert_eq!(status, UNAVAILABLE);
    assert!(
        headers.contains("content-type: application/json"),
        "{headers}"
    );
    assert_eq!(
        body,
        r#"{"status":"not ready","service":"packetpony","reason":"listeners not bound","listeners":["dns","web"]}"#
    );
    server.health.set_bound("web");
    server.health.set_bound("dns");
    let (status, _, body) = server.get("/ready").await;
    assert_eq!(status, OK);
    assert_eq!(body, r#"{"status":"ready","service":"packetpony"}"#);
    server.health.set_stopping();
    let (status, _, body) = server.get("/ready").await;
    assert_eq!(status, UNAVAILABLE);
    assert_eq!(
        body,
        r#"{"status":"not ready","service":"packetpony","reason":"stopping"}"#
    );
    assert_eq!(server.get("/health").await.0, OK, "still alive");
}

#[tokio::test]
async fn shows_metrics_at_exactly_its_path() {
    let server = Server::start().await;
    server
        .metrics
        .listener("web", Protocol::Tcp)
        .unwrap()
        .bytes_sent
        .inc_by(7);
    let (status, headers, body) = server.get("/metrics?name=x").await;
    assert_eq!(status, OK);
    let content = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(headers.contains(content), "{headers}");
    let line = r#"packetpony_bytes_transferred_total{direction="sent",listener="web"} 7"#;
    assert!(body.contains(line), "{body}");

    for path in [
        "/",
        "/metrics/",
        "/Metrics",
        "/metrics/x",
        "/healthz/",
        "/ready/x",
    ] {
        let (status, _, body) = server.get(path).await;
        assert_eq!(status, "HTTP/1.1 404 Not Found", "{path}");
        assert_eq!(body, "404 page not found\n");
    }
}

#[tokio::test]
async fn answers_several_requests_on_one_connection() {
    let server = Server::start().await;
    let twice = format!(
        "GET /health HTTP/1.1\r\nHost: pony\r\n\r\n{}",
        request("GET", "/ready")
    );
    let answer = server.ask(&twice).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
}

#[tokio::test]
async fn refuses_heads_that_are_too_large_and_nonsense() {
    let server = Server::start().await;
    let large = format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut client = server.connect().await;
    // The server may end the connection before it has read everything.
    client.write_all(large.as_bytes()).await.ok();
    let answer = timeout(LONG, read_to_end(&mut client)).await.unwrap();
    assert!(!answer.starts_with(OK), "{answer}");
    let answer = server.ask("\u{0}\u{1}\r\n\r\n").await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
}

#[tokio::test]
async fn somebody_who_holds_connections_open_does_not_keep_a_probe_waiting() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for _ in 0..BOUNDS.clients + 10 {
        let mut client = server.connect().await;
        client
            .write_all(b"GET /health HTTP/1.1\r\nX: ")
            .await
            .unwrap();
        held.push(client);
    }
    assert_eq!(server.get("/health").await.0, OK);
    let oldest = timeout(LONG, read_to_end(&mut held[0])).await.unwrap();
    assert_eq!(oldest, "", "the oldest made room");
}

#[tokio::test]
async fn somebody_who_is_silent_within_or_between_requests_is_cut() {
    let patience = Duration::from_millis(50);
    let server = Server::within(Bounds { patience, ..BOUNDS }).await;
    for head in [
        "",
        "GET /health HTTP/1.1\r\nX: ",
        "GET /health HTTP/1.1\r\nX: x\r\n\r\n",
    ] {
        server.ask(head).await;
    }
}

#[tokio::test]
async fn somebody_who_asks_or_does_not_read_for_ever_is_cut() {
    let longest = Duration::from_millis(50);
    let server = Server::within(Bounds {
        longest,
        farewell: longest,
        ..BOUNDS
    })
    .await;
    let mut client = server.connect().await;
    let endless = async {
        let request = b"GET /metrics HTTP/1.1\r\nHost: pony\r\n\r\n";
        while client.write_all(request).await.is_ok() {}
    };
    timeout(LONG, endless).await.unwrap();
}

async fn ends_soon(server: Server) -> Result<(), Elapsed> {
    server.stop.cancel();
    timeout(LONG, server.task).await.map(Result::unwrap)
}

#[tokio::test]
async fn ends_when_it_is_told_to_also_while_somebody_is_connected() {
    let server = Server::start().await;
    let address = server.address;
    let mut client = server.connect().await;
    client
        .write_all(b"GET /health HTTP/1.1\r\nHost: pony\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    ends_soon(server).await.unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn ends_also_while_somebody_does_not_read_the_answer() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let many = "GET /metrics HTTP/1.1\r\nHost: pony\r\n\r\n".repeat(1000);
    client.write_all(many.as_bytes()).await.unwrap();
    ends_soon(server).await.unwrap();
}
