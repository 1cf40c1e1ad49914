//! The clients for programs.

use serde::Serialize;

use crate::kernel::{ClientUse, Clients, Recent, Unit};

/// One object. Keys are only ever added.
pub(super) fn text(clients: &Clients) -> String {
    let answer = Answer {
        instance: &clients.instance,
        running: clients.is_running,
        policy_generation: clients.generation,
        total_clients: clients.total,
        clients: clients.clients.iter().map(Line::from).collect(),
    };
    serde_json::to_string(&answer).expect("texts and numbers are JSON")
}

#[derive(Serialize)]
struct Answer<'a> {
    instance: &'a str,
    running: bool,
    policy_generation: u64,
    total_clients: usize,
    clients: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    client: String,
    listener: &'a str,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    attempts: u64,
    window: Option<Window>,
}

#[derive(Serialize)]
struct Window {
    unit: &'static str,
    used: u64,
    limit: u64,
    seconds: f64,
}

impl<'a> From<&'a ClientUse> for Line<'a> {
    fn from(client: &'a ClientUse) -> Self {
        Self {
            client: client.client.to_string(),
            listener: &client.listener,
            packets_in: client.packets_in,
            packets_out: client.packets_out,
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
            attempts: client.attempts,
            window: client.recent.map(Window::from),
        }
    }
}

impl From<Recent> for Window {
    fn from(recent: Recent) -> Self {
        Self {
            unit: match recent.unit {
                Unit::Attempts => "attempts",
                Unit::Bytes => "bytes",
            },
            used: recent.used,
            limit: recent.limit,
            seconds: recent.window.as_secs_f64(),
        }
    }
}
