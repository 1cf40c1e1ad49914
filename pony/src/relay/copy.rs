//! The copy lane: one direction of a flow, through a buffer in user space.

use std::{
    future::poll_fn,
    io,
    net::Shutdown,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::Poll,
};

use pony_common::limit::Charge;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    select,
    task::yield_now,
    time::sleep,
};

use super::{
    activity::{Doing, Progress},
    buffer::Buffer,
    end::{End, Side},
};
use crate::{
    observe::{Direction, FlowRecord},
    policy::Permit,
    sys,
};

/// One direction of a flow.
pub(super) struct Pump<'a> {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) direction: Direction,
    pub(super) progress: &'a Progress,
    pub(super) record: &'a FlowRecord,
    pub(super) permit: &'a Permit,
    pub(super) ending: &'a Ending,
}

/// Why the flow is ending, for the direction that still has something to deliver.
#[derive(Default)]
pub(super) struct Ending {
    /// The source broke: what looks like its end of file is none, and must not reach the
    /// destination as one.
    pub(super) is_broken: AtomicBool,
    /// The other direction met the limit: what was granted is delivered, and no more is read.
    pub(super) is_over: AtomicBool,
}

impl Pump<'_> {
    /// Moves bytes until `from` reaches end of file or the client its limit, and then tells `to`.
    ///
    /// Never returns `End::Finished`: that takes both directions.
    pub(super) async fn run(
        &self,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
    ) -> Result<(), End> {
        let end = self.pump(from, to).await;
        if self.ending.is_broken.load(Relaxed) || matches!(end, Err(End::Broken(..))) {
            return end;
        }
        self.progress.note(Doing::Ended, sys::now());
        match SockRef::from((*to).as_ref()).shutdown(Shutdown::Write) {
            Ok(()) => end,
            // The destination is gone already; the other direction sees what became of it.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => end,
            Err(error) => Err(End::Broken(self.destination, error)),
        }
    }

    async fn pump(&self, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> Result<(), End> {
        loop {
            from.readable()
                .await
                .map_err(|error| End::Broken(self.source, error))?;
            let mut buffer = Buffer::take();
            let Some(read) = read_ready(from, &mut buffer).await else {
                // Also said when this task has had its share of the thread. `readable` does not
                // look at that, so without a pause both would answer each other for ever.
                yield_now().await;
                continue;
            };
            match read.map_err(|error| End::Broken(self.source, error))? {
                0 => return Ok(()),
                len => self.deliver(&buffer[..len], from.as_ref(), to).await?,
            }
            self.progress.note(Doing::Reading, sys::now());
            if self.ending.is_over.load(Relaxed) {
                return Err(End::OverBandwidth);
            }
        }
    }

    /// Writes `bytes`, as fast as the client's limit and the destination allow.
    async fn deliver(
        &self,
        mut bytes: &[u8],
        from: &TcpStream,
        to: &mut WriteHalf<'_>,
    ) -> Result<(), End> {
        while !bytes.is_empty() {
            let granted = self.wait_for_grant(bytes.len(), from).await?;
            let (now, later) = bytes.split_at(granted);
            self.write(now, from, to).await?;
            bytes = later;
        }
        Ok(())
    }

    /// How many of `want` bytes may move now; waits while the client is paced.
    async fn wait_for_grant(&self, want: usize, from: &TcpStream) -> Result<usize, End> {
        if !self.permit.is_metered() {
            return Ok(want);
        }
        loop {
            let now = sys::now();
            match self.permit.charge(want as u64, now) {
                Charge::Grant(granted) => return Ok(usize::try_from(granted).unwrap_or(want)),
                Charge::GrantOver(granted) => {
                    self.record.violated();
                    return Ok(usize::try_from(granted).unwrap_or(want));
                }
                Charge::Over => return Err(End::OverBandwidth),
                Charge::Wait(time) => {
                    self.progress.note(Doing::Pacing, now);
                    self.unless_broken(from, sleep(time.to_duration())).await?;
                }
            }
        }
    }

    async fn write(
        &self,
        mut bytes: &[u8],
        from: &TcpStream,
        to: &mut WriteHalf<'_>,
    ) -> Result<(), End> {
        while !bytes.is_empty() {
            let result = if let Some(result) = write_ready(to, bytes).await {
                result
            } else {
                self.progress.note(Doing::Writing, sys::now());
                self.unless_broken(from, to.write(bytes)).await?
            };
            let written = result.map_err(|error| End::Broken(self.destination, error))?;
            self.record.moved(self.direction, written as u64);
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Waits for `work`, and gives up when the source breaks meanwhile: while a direction does not
    /// read, nothing else would notice.
    async fn unless_broken<T>(
        &self,
        from: &TcpStream,
        work: impl Future<Output = T>,
    ) -> Result<T, End> {
        select! {
            biased;
            done = work => Ok(done),
            error = broken(from) => Err(End::Broken(self.source, error)),
        }
    }
}

/// Waits until the connection is reset or fails otherwise; an ordinary close does not count.
pub async fn broken(stream: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = stream.ready(Interest::ERROR).await {
            return error;
        }
        let pending = stream.try_io(Interest::ERROR, || {
            SockRef::from(stream)
                .take_error()?
                .ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        match pending {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(error) | Err(error) => return error,
        }
    }
}

/// Reads what is there; `None` when it was a false alarm. Unlike `read().await` it never waits, so
/// the buffer can go back meanwhile; unlike `try_read` it needs no second system call to learn that
/// the socket is empty.
async fn read_ready(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> Option<io::Result<usize>> {
    poll_fn(|cx| {
        let mut unfilled = ReadBuf::new(buffer);
        let read = Pin::new(&mut *from).poll_read(cx, &mut unfilled);
        Poll::Ready(match read {
            Poll::Ready(result) => Some(result.map(|()| unfilled.filled().len())),
            Poll::Pending => None,
        })
    })
    .await
}

/// Writes what the socket takes at once; `None` when it takes nothing.
async fn write_ready(to: &mut WriteHalf<'_>, bytes: &[u8]) -> Option<io::Result<usize>> {
    poll_fn(|cx| {
        let written = Pin::new(&mut *to).poll_write(cx, bytes);
        Poll::Ready(match written {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        })
    })
    .await
}
