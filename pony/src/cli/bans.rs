//! `pony ban`, `pony unban`, `pony bans`: banning clients of a running daemon by hand.

mod text;

use std::{path::PathBuf, process::ExitCode};

use super::{WRONG_USAGE, output};
use crate::admin::{self, Asked, FindError};

#[derive(clap::Args, Debug)]
pub(super) struct BanOptions {
    /// The client: an IPv4 address, or an IPv6 address, which stands for its whole prefix as the
    /// listener's `ipv6_prefix` says (a /64 unless configured).
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// For how long: 30s, 5m, 1h30m, or forever, which is until it is lifted or the daemon ends.
    #[arg(short = 'f', long = "for", value_name = "TIME", default_value = "1h")]
    length: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub(super) struct UnbanOptions {
    /// The address as it was banned.
    #[arg(value_name = "ADDRESS")]
    address: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub(super) struct BansOptions {
    /// One JSON object, with exact numbers.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Which bans are meant.
#[derive(clap::Args, Debug)]
struct Scope {
    /// Only on this listener. Without it: on all of them.
    #[arg(short, long, value_name = "NAME")]
    listener: Option<String>,
}

/// Which daemon is meant.
#[derive(clap::Args, Debug)]
struct Place {
    /// The `server.name` of the PacketPony to talk to; needed only if several run here.
    #[arg(short, long, value_name = "NAME")]
    instance: Option<String>,
    /// Its control socket, if the configuration has it in another place (`admin.socket`).
    #[arg(short, long, value_name = "PATH", conflicts_with = "instance")]
    socket: Option<PathBuf>,
}

pub(super) const BAN_HELP: &str = "\
Nothing of a banned client is let in any more, and what it has open ends at once; other clients
do not notice. Bans do not concern exempt clients, come before all limits (also with `action:
log_only`), and are gone when the daemon ends: put lasting ones on the denylist.

The same with curl (GET /bans shows them, DELETE /bans/ADDRESS?listener=NAME lifts one):
  curl --unix-socket /run/packetpony/NAME.sock http://pony/bans -X PUT \\
    -d '{\"address\": \"192.0.2.7\", \"for\": \"1h\", \"listener\": \"web\"}'";

pub(super) fn ban(options: &BanOptions) -> ExitCode {
    let mut request = serde_json::json!({
        "address": options.address,
        "for": options.length,
    });
    if let Some(listener) = &options.scope.listener {
        request["listener"] = listener.as_str().into();
    }
    let asked = options.place.ask("PUT", "/bans", &request.to_string());
    finish(asked, text::began)
}

pub(super) fn unban(options: &UnbanOptions) -> ExitCode {
    let mut path = format!("/bans/{}", admin::in_path(&options.address));
    if let Some(listener) = &options.scope.listener {
        path += "?listener=";
        path += &admin::in_path(listener);
    }
    finish(options.place.ask("DELETE", &path, ""), text::lifted)
}

pub(super) fn bans(options: &BansOptions) -> ExitCode {
    let asked = options.place.ask("GET", "/bans", "");
    finish(asked, |body| {
        if options.json {
            return Some(body.to_owned());
        }
        text::bans(body)
    })
}

impl Place {
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<(PathBuf, Asked), FindError> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => admin::find(self.instance.as_deref())?,
        };
        let asked = admin::ask(&socket, method, path, body)?;
        Ok((socket, asked))
    }
}

/// Prints what `text` makes of the answer.
fn finish(
    asked: Result<(PathBuf, Asked), FindError>,
    text: impl FnOnce(&str) -> Option<String>,
) -> ExitCode {
    let text = match asked {
        Ok((socket, asked)) if asked.is_done() => {
            text(&asked.body).ok_or(FindError::Strange { path: socket })
        }
        Ok((_, asked)) => {
            output::complain(&format!("pony: {}", asked.problem()));
            return match asked.status {
                400 => ExitCode::from(WRONG_USAGE),
                _ => ExitCode::FAILURE,
            };
        }
        Err(error) => Err(error),
    };
    match text {
        Ok(text) => {
            output::say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::complain(&format!("pony: {error}"));
            ExitCode::FAILURE
        }
    }
}
