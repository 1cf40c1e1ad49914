//! Moving one session's datagrams, both ways.
//!
//! Nothing here waits but [`SessionRelay::replies`]. A datagram is forwarded whole or
//! dropped with a counted reason.

use std::{
    convert::Infallible,
    io::{self, IoSlice},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use pony_common::{limit::DatagramCharge, time::Nanos};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, task::yield_now};

use super::buffer::Buffer;
use crate::{
    config::UdpHeader,
    observe::{Direction, ErrorKind, FlowRecord},
    policy::Permit,
    sys,
};

/// The way back to one client.
pub trait ReplyPath {
    /// Sends a datagram to the client; waits while the socket's buffer is full.
    fn send(&self, datagram: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
}

/// One session's datagrams, between its client and its target.
pub struct SessionRelay<'a> {
    /// The socket that is connected to the target.
    pub target: &'a UdpSocket,
    /// Where they are counted.
    pub record: &'a FlowRecord,
    /// What the client may still use.
    pub permit: &'a Permit,
    /// When a datagram last went either way.
    pub activity: &'a LastActivity,
    /// What the target is told of the client, if anything.
    pub told: Option<&'a Told>,
    /// The longest datagram that is forwarded, in bytes, without what the target is told.
    pub longest: usize,
}

/// A header for the target, in front of each datagram or of the first one.
pub struct Told {
    header: Vec<u8>,
    placed: UdpHeader,
    /// The target may have it.
    is_known: AtomicBool,
}

impl Told {
    /// Nothing has been told yet.
    pub const fn new(header: Vec<u8>, placed: UdpHeader) -> Self {
        Self {
            header,
            placed,
            is_known: AtomicBool::new(false),
        }
    }

    /// What belongs in front of the next datagram.
    fn due(&self) -> &[u8] {
        match self.placed {
            UdpHeader::First if self.is_known.load(Relaxed) => &[],
            UdpHeader::First | UdpHeader::Each => &self.header,
        }
    }
}

/// When a session last had a datagram.
pub struct LastActivity(AtomicU64);

impl LastActivity {
    /// Begins at `now`.
    pub fn new(now: Nanos) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Notes a datagram.
    pub fn note(&self, now: Nanos) {
        self.0.store(now.0, Relaxed);
    }

    /// When it was.
    pub fn at(&self) -> Nanos {
        Nanos(self.0.load(Relaxed))
    }
}

impl SessionRelay<'_> {
    /// Sends what came from the client to the target.
    pub fn forward(&self, datagram: &[u8]) {
        if !self.may_pass(datagram.len()) {
            return;
        }
        let mut sent = self.send_now(datagram);
        // A refusal that an earlier datagram met is reported by the next call, which sends nothing.
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.record.failed(ErrorKind::TargetWrite, error);
            self.note_told(false);
            sent = self.send_now(datagram);
        }
        match sent {
            Ok(_) => {
                self.note_told(true);
                self.record
                    .datagram_moved(Direction::Sent, datagram.len() as u64);
            }
            Err(error) => self.record.failed(ErrorKind::TargetWrite, &error),
        }
    }

    /// Sends what comes from the target to the client, for ever.
    pub async fn replies(&self, client: &(impl ReplyPath + Sync)) -> Infallible {
        loop {
            match self
                .target
                .ready(Interest::READABLE | Interest::ERROR)
                .await
            {
                Ok(ready) if ready.is_error() => self.report_refusal(),
                Ok(_) => {}
                Err(error) => self.record.failed(ErrorKind::TargetRead, &error),
            }
            self.reply_batch(client).await;
            // A target that never pauses must not keep this thread from the other sessions.
            yield_now().await;
        }
    }

    /// Sends without waiting. Not tokio's `try_send`, which refuses until the socket's first event was
    /// seen, and the first datagrams of a session come before that.
    fn send_now(&self, datagram: &[u8]) -> io::Result<usize> {
        let socket = SockRef::from(self.target);
        let header = self.told.map_or(&[][..], Told::due);
        if header.is_empty() {
            return socket.send(datagram);
        }
        let parts = [IoSlice::new(header), IoSlice::new(datagram)];
        socket.send_vectored(&parts)
    }

    /// Whether the target has what it is told. A target that was not there has nothing.
    fn note_told(&self, is_known: bool) {
        if let Some(told) = self.told {
            told.is_known.store(is_known, Relaxed);
        }
    }

    /// The target's host has refused a datagram. That alone does not make the socket readable.
    fn report_refusal(&self) {
        let refusal = self.target.try_io(Interest::ERROR, || {
            let pending = SockRef::from(self.target).take_error()?;
            // To tokio this means: it was reported, wait for the next one.
            pending.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        if let Ok(error) = refusal {
            self.note_told(false);
            self.record.failed(ErrorKind::TargetRead, &error);
        }
    }

    async fn reply_batch(&self, client: &(impl ReplyPath + Sync)) {
        for _ in 0..BATCH {
            let mut buffer = Buffer::take();
            match self.target.try_recv(&mut buffer) {
                Ok(len) => self.reply(&buffer[..len], client).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.record.failed(ErrorKind::TargetRead, &error),
            }
        }
    }

    async fn reply(&self, datagram: &[u8], client: &(impl ReplyPath + Sync)) {
        self.activity.note(sys::now());
        if !self.may_pass(datagram.len()) {
            return;
        }
        match client.send(datagram).await {
            Ok(()) => self
                .record
                .datagram_moved(Direction::Received, datagram.len() as u64),
            Err(error) => self.record.failed(ErrorKind::ClientWrite, &error),
        }
    }

    /// Whether size and bandwidth allow a datagram of `len` bytes; counts it if not.
    fn may_pass(&self, len: usize) -> bool {
        if len > self.longest {
            self.record.too_long(len, self.longest);
            return false;
        }
        if !self.permit.is_metered() {
            return true;
        }
        match self.permit.charge_datagram(len as u64, sys::now()) {
            DatagramCharge::Pass => true,
            DatagramCharge::PassOver => {
                self.record.violated();
                true
            }
            DatagramCharge::Drop => {
                self.record.over_bandwidth();
                false
            }
        }
    }
}

/// How many replies one session moves before the others get their turn.
const BATCH: usize = 32;
