use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    admin::{Control, Post, Rounds},
    config::{Access, Limits},
    http::BOUNDS,
    policy::{BanList, Policy},
    sys,
};

const LONG: Duration = Duration::from_secs(20);

/// A control socket in front of two listeners: `web`, where 192.0.2.9 is exempt, and `dns`.
struct Server {
    path: PathBuf,
    policies: [Arc<Policy>; 2],
    desk: Arc<Desk>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        Self::within(BOUNDS, None)
    }

    fn within(bounds: Bounds, guard: Option<Rounds>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let control = Control::bind(&path).unwrap();
        let bans = Arc::new(BanList::new(3));
        let policies = [(0, "192.0.2.9/32", 64), (1, "198.51.100.1/32", 48)];
        let policies = policies.map(|(number, exempt, ipv6_prefix)| {
            let access = Access {
                allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
                exempt: vec![exempt.parse().unwrap()],
                deny: Vec::new(),
            };
            let limits = Limits {
                ipv6_prefix,
                ..Limits::default()
            };
            Arc::new(Policy::new(&access, &limits, 9).banning(Arc::clone(&bans), number))
        });
        let posts = ["web", "dns"].into_iter().zip(&policies);
        let posts = posts.map(|(name, policy)| Post {
            name: name.into(),
            policy: Arc::clone(policy),
        });
        let desk = Arc::new(Desk::new(bans, posts.collect(), guard));
        let answers = Arc::new(Answers::new(Arc::clone(&desk), bounds));
        let stop = CancellationToken::new();
        let serving = http::serve("control", bounds, control, answers, stop.clone());
        Self {
            task: tokio::spawn(serving),
            path,
            policies,
            desk,
            stop,
            _folder: folder,
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Status and body.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut client = self.connect().await;
        let len = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: pony\r\nConnection: close\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        );
        // The server may answer before it has read everything.
        client.write_all(request.as_bytes()).await.ok();
        let answer = read_to_end(&mut client).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    async fn ban(&self, body: &Value) -> (u16, Value) {
        self.ask("PUT", "/bans", &body.to_string()).await
    }

    fn is_banned(&self, listener: usize, client: &str) -> bool {
        let admitted = self.policies[listener].admit(client.parse().unwrap(), sys::now());
        admitted.is_err()
    }
}

async fn read_to_end(client: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let reading = client.read_to_end(&mut answer);
    // A connection that was cut may end with a reset.
    timeout(LONG, reading).await.unwrap().ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_ban_is_made_and_shown_and_lifted() {
    let server = Server::start();
    let (status, answer) = server
        .ban(&json!({"address": "192.0.2.7", "for": "90s"}))
        .await;
    assert_eq!((status, &answer["ended"]), (200, &json!(0)), "{answer}");
    assert_eq!(answer["warnings"], json!([]));
    let ban = &answer["ban"];
    assert_eq!(ban["address"], "192.0.2.7");
    assert_eq!(ban["listener"], Value::Null);
    assert_eq!(ban["remaining_seconds"], 90);
    assert!(ban["until"].as_str().unwrap().ends_with('Z'), "{ban}");
    assert!(server.is_banned(0, "192.0.2.7") && server.is_banned(1, "192.0.2.7"));

    let body = json!({"address": "2001:db8::7", "listener": "dns", "for": "forever"});
    let (status, answer) = server.ask("POST", "/bans", &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let forever = json!({"address": "2001:db8::7", "clients": ["2001:db8::/48"],
        "listener": "dns", "until": null, "remaining_seconds": null});
    assert_eq!(answer["ban"], forever);
    assert!(!server.is_banned(0, "2001:db8::8") && server.is_banned(1, "2001:db8::8"));

    let (status, all) = server.ask("GET", "/bans", "").await;
    assert_eq!((status, &all["max_bans"]), (200, &json!(3)));
    assert_eq!(all["bans"].as_array().unwrap().len(), 2);
    assert_eq!(all["bans"][1], forever);

    let (status, lifted) = server
        .ask("DELETE", "/bans/2001:db8::7?listener=dns", "")
        .await;
    assert_eq!((status, &lifted["lifted"]), (200, &json!([forever])));
    let (status, _) = server.ask("DELETE", "/bans/192.0.2.7", "").await;
    assert_eq!(status, 200);
    let (_, all) = server.ask("GET", "/bans/", "").await;
    assert_eq!(all["bans"], json!([]));
    assert!(!server.is_banned(0, "192.0.2.7"));
}

#[tokio::test]
async fn what_is_open_is_ended_where_the_ban_is() {
    let server = Server::start();
    let client = "192.0.2.7".parse().unwrap();
    let open = |listener: usize| server.policies[listener].admit(client, sys::now()).unwrap();
    let (web, dns) = (open(0), open(1));
    let body = json!({"address": "192.0.2.7", "listener": "web"});
    let (_, answer) = server.ban(&body).await;
    assert_eq!(answer["ended"], 1);
    assert!(web.is_banned() && !dns.is_banned());
    let (_, answer) = server.ban(&json!({"address": "192.0.2.7"})).await;
    assert_eq!(answer["ended"], 1, "the other one has been told before");
    assert!(dns.is_banned());
}

#[tokio::test]
async fn who_is_exempt_is_not_concerned_and_that_is_said() {
    let server = Server::start();
    let (status, answer) = server.ban(&json!({"address": "192.0.2.9"})).await;
    assert_eq!(status, 200);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("192.0.2.9 is exempt on web,"),
        "{warning}"
    );
    assert!(!server.is_banned(0, "192.0.2.9") && server.is_banned(1, "192.0.2.9"));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_cannot_be_done_is_told_with_a_remedy() {
    let server = Server::start();
    for body in [
        json!({"address": "192.0.2.1"}),
        json!({"address": "192.0.2.2"}),
        json!({"address": "2001:db8::1", "listener": "dns"}),
    ] {
        assert_eq!(server.ban(&body).await.0, 200);
    }
    let long = "x".repeat(20_000);
    let rows = [
        ("GET", "/", "", 404, "/bans"),
        ("GET", "/ban", "", 404, "/bans"),
        ("GET", "/bansx", "", 404, "/bans"),
        ("PATCH", "/bans", "", 405, "GET, PUT, POST"),
        ("GET", "/bans/192.0.2.1", "", 405, "DELETE"),
        ("PUT", "/bans", "address=192.0.2.3", 400, "send an object"),
        (
            "PUT",
            "/bans",
            r#"{"address": "x"}"#,
            400,
            "such as 192.0.2.7",
        ),
        ("PUT", "/bans", &long, 413, "one small JSON object"),
        (
            "PUT",
            "/bans",
            r#"{"address": "192.0.2.3", "listener": "wbe"}"#,
            404,
            "write one of: web, dns",
        ),
        (
            "PUT",
            "/bans",
            r#"{"address": "192.0.2.3"}"#,
            409,
            "admin.max_bans",
        ),
        ("DELETE", "/bans/192.0.2.3", "", 404, "pony bans"),
        (
            "DELETE",
            "/bans/192.0.2.1?listener=web",
            "",
            404,
            "on all listeners",
        ),
        (
            "DELETE",
            "/bans/2001:db8::2",
            "",
            404,
            "the ban of 2001:db8::1",
        ),
        (
            "DELETE",
            "/bans/192.0.2.1?listener=x",
            "",
            404,
            "one of: web, dns",
        ),
    ];
    for (method, path, body, expected, remedy) in rows {
        let (status, answer) = server.ask(method, path, body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let error = &answer["error"];
        let told = error["remedy"].as_str().unwrap();
        assert!(told.contains(remedy), "{method} {path}: {error}");
        assert!(error["problem"].is_string(), "{error}");
    }
    let (status, _) = server
        .ban(&json!({"address": "192.0.2.2", "for": "2h"}))
        .await;
    assert_eq!(status, 200, "one that is there can be changed");
}

#[tokio::test]
async fn a_ban_that_has_ended_takes_no_room() {
    let server = Server::start();
    for last in 1..=20 {
        let body = json!({"address": format!("192.0.2.{last}"), "for": "1ns"});
        assert_eq!(server.ban(&body).await.0, 200);
    }
    server.desk.expire();
    let (_, all) = server.ask("GET", "/bans", "").await;
    assert_eq!(all["bans"], json!([]));
}

#[tokio::test]
async fn the_answer_waits_for_the_guard() {
    let (guard, mut rounds) = mpsc::channel(1);
    let server = Server::within(BOUNDS, Some(guard));
    let body = json!({"address": "192.0.2.7"});
    let asking = server.ban(&body);
    let going_round = async {
        let asker: tokio::sync::oneshot::Sender<()> = rounds.recv().await.unwrap();
        assert!(server.is_banned(0, "192.0.2.7"), "the daemon first");
        asker.send(()).unwrap();
    };
    let ((status, _), ()) = tokio::join!(asking, going_round);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn who_is_slow_is_cut_and_keeps_nobody_waiting() {
    let patience = Duration::from_millis(50);
    let server = Server::within(Bounds { patience, ..BOUNDS }, None);
    for part in [
        "",
        "PUT /bans HT",
        "PUT /bans HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut client = server.connect().await;
        client.write_all(part.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    }
    let mut held = Vec::new();
    for _ in 0..BOUNDS.clients + 10 {
        held.push(server.connect().await);
    }
    assert_eq!(server.ask("GET", "/bans", "").await.0, 200);
}

#[tokio::test]
async fn the_socket_is_gone_when_it_is_stopped() {
    let server = Server::start();
    assert_eq!(server.ask("GET", "/bans", "").await.0, 200);
    server.stop.cancel();
    timeout(LONG, server.task).await.unwrap().unwrap();
    assert!(!server.path.exists());
}
