//! What an operator asks a running daemon for: banning clients by hand.
//!
//! Owns the control socket, what is asked and answered there (HTTP and JSON, so that `curl` will do),
//! and the finding of the socket by the command line. It changes the list of bans; whom a ban
//! refuses is for `policy` to say.
//!
//! What always holds: only root and the daemon's own user are answered; whoever asks is bounded
//! like any client; when a ban has been answered, nothing of its client moves any more.

mod answer;
mod ask;
mod desk;
mod problem;
mod request;
mod socket;
mod wire;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::answer::Answers;
pub use self::{
    ask::{Asked, FindError, ask, find, in_path},
    desk::{Desk, Post, Rounds},
    socket::{Control, SocketError},
    wire::{BanLine, Bans, Began, Lifted},
};
use crate::{
    config,
    http::{self, BOUNDS},
};

/// Makes the control socket that the configuration wants. `Ok(None)`: it wants none, or the usual
/// one cannot be had, which is then logged.
pub fn bind(config: &config::Admin, instance: &str) -> Result<Option<Control>, SocketError> {
    match &config.socket {
        config::ControlSocket::Off => Ok(None),
        config::ControlSocket::At(path) => Control::bind(path).map(Some),
        config::ControlSocket::Auto => Ok(Control::bind_usual(instance)),
    }
}

/// Makes the control socket that the configuration names, and removes it again.
pub fn try_out(config: &config::Admin) -> Result<(), SocketError> {
    match &config.socket {
        config::ControlSocket::At(path) => socket::make(path).map(drop),
        config::ControlSocket::Off | config::ControlSocket::Auto => Ok(()),
    }
}

/// Answers operators until `stop` is cancelled, and then removes the socket.
pub async fn serve(control: Control, desk: Arc<Desk>, stop: CancellationToken) {
    let answers = Arc::new(Answers::new(desk, BOUNDS));
    http::serve("control", BOUNDS, control, answers, stop).await;
}
