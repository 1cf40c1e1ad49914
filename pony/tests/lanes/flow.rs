//! Both ends of one flow, doing what its plan says and checking what comes.

use std::{
    cell::Cell,
    io::{self, ErrorKind},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    select,
    sync::Notify,
    time::{sleep, timeout},
    try_join,
};

use crate::{
    bytes::{Content, MOST},
    dice::{Dice, index},
    plan::{Plan, Script},
};

/// How far each end of a flow has come; kept outside, so that a flow that hangs can be described.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) client: Progress,
    pub(crate) target: Progress,
    /// The target's reset looked to the client like a target that refuses.
    pub(crate) looks_refused: Cell<bool>,
}

/// One end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) sent: Cell<u64>,
    pub(crate) received: Cell<u64>,
    /// It met an end of file before any error.
    pub(crate) saw_eof: Cell<bool>,
    pub(crate) saw_error: Cell<bool>,
}

/// One end of a flow, and what it does.
struct End<'a> {
    sends: (&'a Script, Content),
    receives: (&'a Script, Content),
    /// After how many bytes sent it resets.
    resets: Option<u64>,
    is_client: bool,
    /// Whether the other end resets.
    is_reset: bool,
    progress: &'a Progress,
    dice: Cell<Dice>,
}

/// Sends what the plan says comes before the target accepts.
pub(crate) async fn send_early(plan: &Plan, client: &mut TcpStream) -> io::Result<()> {
    client
        .write_all(plan.content_up().at(0, index(plan.early)))
        .await?;
    if plan.early > 0 && plan.early == plan.up.len && plan.reset.is_none() {
        client.shutdown().await?;
    }
    Ok(())
}

/// Does what the plan says at both ends, and says what went wrong.
pub(crate) async fn run(
    plan: &Plan,
    ends: &Ends,
    client: TcpStream,
    target: TcpStream,
) -> Result<(), String> {
    ends.client.sent.set(plan.early);
    let up = (&plan.up, plan.content_up());
    let down = (&plan.down, plan.content_down());
    let by_client = plan.reset.map(|reset| reset.by_client);
    let after = plan.reset.map(|reset| reset.after);
    let end = |sends, receives, progress, is_client: bool| End {
        sends,
        receives,
        resets: after.filter(|_| by_client == Some(is_client)),
        is_reset: by_client == Some(!is_client),
        is_client,
        progress,
        dice: Cell::new(Dice::new(plan.seed ^ u64::from(is_client))),
    };
    let at_client = end(up, down, &ends.client, true);
    let at_target = end(down, up, &ends.target, false);
    let named = async |end: &End<'_>, stream, name| {
        let outcome = end.run(stream).await;
        outcome.map_err(|problem| format!("the {name} {problem}"))
    };
    let both = async {
        try_join!(
            named(&at_client, client, "client"),
            named(&at_target, target, "target")
        )
    };
    let both = timeout(PATIENCE, both);
    both.await.unwrap_or_else(|_| Err("it hangs".to_owned()))?;
    let saw_nothing = ends.client.received.get() == 0 && ends.client.saw_eof.get();
    ends.looks_refused.set(at_client.is_reset && saw_nothing);
    Ok(())
}

impl Plan {
    pub(crate) fn content_up(&self) -> Content {
        Content::new(self.seed, 1)
    }

    pub(crate) fn content_down(&self) -> Content {
        Content::new(self.seed, 2)
    }
}

impl End<'_> {
    async fn run(&self, mut stream: TcpStream) -> Result<(), String> {
        let (eof, giving_up) = (Notify::new(), Notify::new());
        let ended = {
            let (mut from, mut to) = stream.split();
            let both = async {
                // Wrong bytes end it at once; whatever else happens to one way, the other goes on.
                try_join!(
                    async { Ok(self.send(&mut to, &eof, &giving_up).await) },
                    self.receive(&mut from, &eof)
                )
            };
            select! {
                biased;
                () = giving_up.notified() => None,
                ended = both => Some(ended),
            }
        };
        let Some(ended) = ended else {
            // Gives up: what comes after that nobody sees.
            reset(&stream);
            return Ok(());
        };
        let (sent, received) = ended?;
        if self.is_reset {
            self.was_reset(sent, received)
        } else {
            self.ended_well(sent, received)
        }
    }

    /// Sends everything and then end of file; stops for ever where a reset is due.
    async fn send(
        &self,
        to: &mut WriteHalf<'_>,
        eof: &Notify,
        giving_up: &Notify,
    ) -> io::Result<()> {
        let (script, content) = self.sends;
        if script.is_answer {
            eof.notified().await;
        }
        let has_ended = self.progress.sent.get() == script.len && script.len > 0;
        let until = self.resets.unwrap_or(script.len);
        while self.progress.sent.get() < until {
            let at = self.progress.sent.get();
            let len = self.roll(|dice| 1 + dice.below(script.write_most));
            let len = index(len.min(until - at)).min(MOST);
            let sent = to.write(content.at(at, len)).await;
            self.progress.saw_error.set(sent.is_err());
            let sent = sent?;
            self.progress.sent.set(at + sent as u64);
            self.pause(script.write_pauses).await;
        }
        if self.resets.is_some() {
            giving_up.notify_one();
            std::future::pending::<()>().await;
        }
        if has_ended {
            // With the early bytes.
            return Ok(());
        }
        to.shutdown().await
    }

    /// Receives until end of file or an error. Wrong bytes are an error of another kind.
    async fn receive(
        &self,
        from: &mut ReadHalf<'_>,
        eof: &Notify,
    ) -> Result<io::Result<()>, String> {
        let (script, content) = self.receives;
        let mut buffer = vec![0; index(script.read_most)];
        loop {
            let len = match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) => {
                    eof.notify_one();
                    return Ok(Err(error));
                }
            };
            let at = self.progress.received.get();
            content.check(at, &buffer[..len])?;
            self.progress.received.set(at + len as u64);
            self.pause(script.read_pauses).await;
        }
        // After an error that a write has met, reading does not meet it again.
        self.progress.saw_eof.set(!self.progress.saw_error.get());
        eof.notify_one();
        Ok(Ok(()))
    }

    fn ended_well(&self, sent: io::Result<()>, received: io::Result<()>) -> Result<(), String> {
        received.map_err(|error| format!("cannot read: {error}"))?;
        sent.map_err(|error| format!("cannot write: {error}"))?;
        let (received, expected) = (self.progress.received.get(), self.receives.0.len);
        if received != expected {
            return Err(format!(
                "received {received} of {expected} bytes and then an end of file"
            ));
        }
        Ok(())
    }

    /// What came is right as far as it goes; now it must not look like an ordinary end.
    fn was_reset(&self, sent: io::Result<()>, received: io::Result<()>) -> Result<(), String> {
        if self.is_client && self.progress.saw_eof.get() && self.progress.received.get() == 0 {
            // A target that resets before the daemon knew of its connection has refused it; what
            // the daemon has logged says whether that was so.
            return Ok(());
        }
        if self.progress.saw_eof.get() {
            return Err("saw an ordinary end of file before the reset".to_owned());
        }
        let errors = [sent.err(), received.err()];
        let mut errors = errors.into_iter().flatten();
        match errors.find(|error| !is_reset(error)) {
            None => Ok(()),
            Some(error) => Err(format!("saw another error than a reset: {error}")),
        }
    }

    async fn pause(&self, once_in: u64) {
        if self.roll(|dice| dice.once_in(once_in)) {
            let time = self.roll(|dice| dice.below(2000));
            sleep(Duration::from_micros(time)).await;
        }
    }

    fn roll<T>(&self, choose: impl FnOnce(&mut Dice) -> T) -> T {
        let mut dice = self.dice.replace(Dice::new(0));
        let choice = choose(&mut dice);
        self.dice.set(dice);
        choice
    }
}

/// Whether this is what a peer's reset looks like, to a reader or a writer.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        // The last one by `shutdown`.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected
    )
}

/// Makes the coming close a reset.
pub(crate) fn reset(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Longer than any flow takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
