//! One direction of a flow in the kernel's lane, as far as the daemon has to do with it.
//!
//! Most of the time that is nothing. It reads and writes what the kernel leaves to it, brings the
//! end of a stream over, and waits for nothing itself: it answers what it waits for.

use std::{io, net::Shutdown, time::Duration};

use pony_common::limit::Charge;
use socket2::SockRef;

use super::{
    activity::{Doing, Progress},
    buffer::{BUFFER_LEN, Buffer},
    end::{End, Side},
    pump::ROUNDS_PER_TURN,
};
use crate::{
    config::Lane,
    kernel::lanes,
    observe::{Direction, FlowRecord},
    policy::Permit,
    sys::{self, tcp::Stage},
};

/// See the module. Dropped with bytes in hand only when the flow is over.
pub(super) struct Way<'a> {
    pub(super) direction: Direction,
    pub(super) source: Side,
    pub(super) sink: Side,
    pub(super) progress: &'a Progress,
    pub(super) record: &'a FlowRecord,
    permit: &'a Permit,
    /// What was read and is not written yet.
    held: Option<Held>,
    /// How much of that the client's limit lets pass.
    granted: usize,
    /// How much had been handed over when the sink last had all of it.
    drained: Option<u64>,
    state: State,
    /// How many bytes to read at once.
    room: usize,
}

struct Held {
    buffer: Buffer,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// The source has ended, and everything that the daemon has to write is written.
    Ending,
    Ended,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// An event at one of its sockets, or a call.
    Event,
    /// That the kernel has put into the sink what it took for it, which it does not tell.
    Drain,
    /// Nothing but its turn: others have theirs first.
    Turn,
    /// That its client may move more, which is to be asked again after this long.
    Grant(Duration),
    /// Nothing more: it has ended.
    Over,
}

impl<'a> Way<'a> {
    pub(super) fn new(
        direction: Direction,
        progress: &'a Progress,
        record: &'a FlowRecord,
        permit: &'a Permit,
        budget: u64,
    ) -> Self {
        let (source, sink) = match direction {
            Direction::Sent => (Side::Client, Side::Target),
            Direction::Received => (Side::Target, Side::Client),
        };
        Self {
            direction,
            source,
            sink,
            progress,
            record,
            permit,
            held: None,
            granted: 0,
            drained: None,
            state: State::Open,
            room: usize::try_from(budget / 4).unwrap_or(BUFFER_LEN),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the daemon has nothing of it in hand.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_none() && self.state == State::Open
    }

    /// Whether the daemon has nothing of it in hand and whoever takes it over can begin anew: an end
    /// that was brought over is seen again.
    pub(super) fn is_clear(&self) -> bool {
        self.held.is_none() && self.state != State::Ending
    }

    /// Does what can be done now. With `may_promote`, gives what follows back to the kernel.
    pub(super) fn advance(
        &mut self,
        lane: &lanes::Direction<'_>,
        may_promote: bool,
    ) -> Result<Wait, End> {
        if self.state == State::Open
            && let Some(wait) = self.relay(lane, may_promote)?
        {
            return Ok(wait);
        }
        if self.state == State::Ending {
            if !self.is_drained(lane)? {
                return Ok(Wait::Drain);
            }
            self.end(lane)?;
        }
        Ok(Wait::Over)
    }

    /// Brings the end of the stream over.
    fn end(&mut self, lane: &lanes::Direction<'_>) -> Result<(), End> {
        self.state = State::Ended;
        self.progress.note(Doing::Ended, sys::now());
        self.record.ended(self.direction);
        let sink = lane.sink();
        match SockRef::from(&sink).shutdown(Shutdown::Write) {
            Ok(()) => Ok(()),
            // It is gone already; the other direction sees what became of it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(End::Broken(self.sink, error)),
        }
    }

    /// Relays what was left to us. `None` when the source has ended.
    fn relay(
        &mut self,
        lane: &lanes::Direction<'_>,
        may_promote: bool,
    ) -> Result<Option<Wait>, End> {
        let mut is_promoted = false;
        for _round in 0..ROUNDS_PER_TURN {
            if let Some(wait) = self.write(lane)? {
                return Ok(Some(wait));
            }
            let progress = lane.progress();
            // Nothing is left to us: only an end can have come, which is asked for below.
            let is_idle = progress.passed == lane.handed();
            if is_idle && (progress.is_redirecting || is_promoted) {
                return self.ended(lane);
            }
            match self.read(lane)? {
                Read::Some => {}
                Read::Nothing if may_promote && !is_promoted => {
                    // What came before this is read, or is seen by the next look; what comes after
                    // it finds the promotion: both happen under the lock of the source.
                    lane.promote();
                    is_promoted = true;
                }
                Read::Nothing | Read::End => return self.ended(lane),
            }
        }
        Ok(Some(Wait::Turn))
    }

    /// Whether the source has ended, with every byte where it belongs.
    fn ended(&mut self, lane: &lanes::Direction<'_>) -> Result<Option<Wait>, End> {
        let broken = |error| End::Broken(self.source, error);
        match lane.stage().map_err(broken)? {
            // The kernel may be late with what it left to us, and does not call for it again.
            Stage::Open | Stage::ShutByUs | Stage::Other => Ok(Some(if is_behind(lane) {
                Wait::Drain
            } else {
                Wait::Event
            })),
            Stage::ShutByPeer | Stage::Closed => {
                let source = lane.source();
                if let Some(error) = SockRef::from(&source).take_error().map_err(broken)? {
                    return Err(broken(error));
                }
                if lane.is_reset().map_err(broken)? {
                    return Err(broken(io::ErrorKind::ConnectionReset.into()));
                }
                if !lane.is_accounted().map_err(broken)? || is_behind(lane) {
                    // The program runs for the last bytes at this moment.
                    return Ok(Some(Wait::Drain));
                }
                self.state = State::Ending;
                Ok(None)
            }
        }
    }

    /// Whether the sink has all that was handed over until now.
    fn is_drained(&mut self, lane: &lanes::Direction<'_>) -> Result<bool, End> {
        let redirected = lane.progress().redirected;
        if self.drained == Some(redirected) {
            return Ok(true);
        }
        let is_drained = lane.is_drained();
        let is_drained = is_drained.map_err(|error| End::Broken(self.sink, error))?;
        self.drained = is_drained.then_some(redirected);
        Ok(is_drained)
    }

    fn read(&mut self, lane: &lanes::Direction<'_>) -> Result<Read, End> {
        let mut buffer = Buffer::take();
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let room = &mut buffer[..self.room.min(BUFFER_LEN)];
        match rustix::net::recv(lane.source(), room, flags) {
            Ok((0, _)) => Ok(Read::End),
            Ok((len, _)) => {
                lane.note_taken(len as u64);
                self.held = Some(Held {
                    buffer,
                    start: 0,
                    end: len,
                });
                Ok(Read::Some)
            }
            Err(rustix::io::Errno::AGAIN) => Ok(Read::Nothing),
            Err(error) => Err(End::Broken(self.source, error.into())),
        }
    }

    /// Writes what is held. Answers what it has to wait for, if it has to.
    fn write(&mut self, lane: &lanes::Direction<'_>) -> Result<Option<Wait>, End> {
        if self.held.is_some() && !self.is_drained(lane)? {
            return Ok(Some(Wait::Drain));
        }
        while let Some(held) = &self.held {
            if self.granted == 0
                && let Some(wait) = self.ask(held.end - held.start)?
            {
                return Ok(Some(wait));
            }
            if !self.write_granted(lane)? {
                return Ok(Some(Wait::Event));
            }
        }
        Ok(None)
    }

    /// Asks whether up to `want` bytes may move. Answers what to wait for, if none may.
    fn ask(&mut self, want: usize) -> Result<Option<Wait>, End> {
        let now = sys::now();
        let granted = match self.permit.charge(want as u64, now) {
            Charge::Grant(granted) => granted,
            Charge::GrantOver(granted) => {
                self.record.violated();
                granted
            }
            Charge::Over => return Err(End::OverBandwidth),
            Charge::Wait(time) => {
                self.progress.note(Doing::Pacing, now);
                return Ok(Some(Wait::Grant(time.to_duration())));
            }
        };
        self.granted = usize::try_from(granted).unwrap_or(want);
        Ok(None)
    }

    /// Writes what is granted of what is held. False if there is no room for it now.
    fn write_granted(&mut self, lane: &lanes::Direction<'_>) -> Result<bool, End> {
        let Some(held) = &mut self.held else {
            return Ok(true);
        };
        let bytes = &held.buffer[held.start..held.end];
        let bytes = bytes.get(..self.granted).unwrap_or(bytes);
        match rustix::net::send(lane.sink(), bytes, rustix::net::SendFlags::DONTWAIT) {
            Ok(len) => {
                held.start += len;
                self.granted -= len;
                let is_written = held.start == held.end;
                lane.note_handed(len as u64);
                self.record.moved(self.direction, Lane::Copy, len as u64);
                self.progress.note(Doing::Reading, sys::now());
                if is_written {
                    self.held = None;
                }
                Ok(true)
            }
            Err(rustix::io::Errno::AGAIN) => {
                // Since when it waits is not changed by looking.
                if self.progress.doing() != Doing::Writing {
                    self.progress.note(Doing::Writing, sys::now());
                }
                if let Some(smaller) = held.buffer.trimmed(held.start..held.end) {
                    (held.start, held.end) = (0, smaller.len());
                    held.buffer = smaller;
                }
                Ok(false)
            }
            Err(error) => Err(End::Broken(self.sink, error.into())),
        }
    }

    /// When nothing more is to move: writes what was granted, and ends the sink's stream as soon as
    /// that and all that was handed over is there. Answers whether it is.
    ///
    /// A sink whose reader waits for the end of what it sends itself is not kept waiting for the
    /// other direction.
    pub(super) fn deliver(&mut self, lane: &lanes::Direction<'_>) -> Result<bool, End> {
        if self.state == State::Ended {
            return Ok(true);
        }
        if !self.is_drained(lane)? {
            return Ok(false);
        }
        while self.granted > 0 {
            if !self.write_granted(lane)? {
                return Ok(false);
            }
        }
        self.end(lane)?;
        Ok(true)
    }
}

/// Whether something was left to us that we have not got.
fn is_behind(lane: &lanes::Direction<'_>) -> bool {
    lane.progress().passed != lane.handed()
}

enum Read {
    Some,
    Nothing,
    End,
}
