//! `pony demo`: the whole thing on loopback, with nothing else needed.

mod targets;

use std::{path::Path, process::ExitCode};

use super::{load, output, run};
use crate::{config, daemon::Daemon};

/// The file that the demo runs, and that a newcomer then copies.
const QUICKSTART: &str = include_str!("../../../configs/quickstart.yaml");

pub(super) fn main() -> ExitCode {
    let parsed = config::parse(QUICKSTART, Path::new("configs/quickstart.yaml"));
    let loaded = match load::accept(parsed) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if let Err(error) = targets::start(&loaded.config.listeners) {
        output::complain(&format!(
            "pony: cannot start the demo's own targets: {error}"
        ));
        return ExitCode::FAILURE;
    }
    run::serve(loaded, "configs/quickstart.yaml (built in)", |daemon| {
        output::say(&what_to_try(daemon));
    })
}

fn what_to_try(daemon: &Daemon) -> String {
    let [tcp, udp] = daemon.addresses() else {
        return String::new();
    };
    let metrics = daemon
        .metrics_address()
        .map(|address| address.to_string())
        .unwrap_or_default();
    format!(
        "
PacketPony is running in front of two targets of its own. In another terminal:

  curl http://{tcp}/                        a page, through the TCP listener
  echo hello | nc -u -w 1 {} {}       an echo, through the UDP listener
  curl -s http://{metrics}/metrics | grep packetpony_   what it counted
  curl http://{metrics}/ready               is it serving?

Ctrl-C ends it. Your own file next: cargo xtask run -- -c FILE
",
        udp.ip(),
        udp.port(),
    )
}
