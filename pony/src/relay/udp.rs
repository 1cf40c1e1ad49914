//! Moving one session's datagrams, both ways.
//!
//! Nothing here waits but [`SessionRelay::replies`]. A datagram is forwarded whole or
//! dropped with a counted reason.

use std::{
    convert::Infallible,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use pony_common::{limit::DatagramCharge, time::Nanos};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, task::yield_now};

use super::buffer::Buffer;
use crate::{
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
    /// The longest datagram that is forwarded, in bytes.
    pub longest: usize,
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
        let mut sent = send_now(self.target, datagram);
        // A refusal that an earlier datagram met is reported by the next call, which sends nothing.
        if let Err(error) = &sent
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.record.failed(ErrorKind::TargetWrite, error);
            sent = send_now(self.target, datagram);
        }
        match sent {
            Ok(_) => self
                .record
                .datagram_moved(Direction::Sent, datagram.len() as u64),
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

    /// The target's host has refused a datagram. That alone does not make the socket readable.
    fn report_refusal(&self) {
        let refusal = self.target.try_io(Interest::ERROR, || {
            let pending = SockRef::from(self.target).take_error()?;
            // To tokio this means: it was reported, wait for the next one.
            pending.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        if let Ok(error) = refusal {
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

/// Sends without waiting. Not tokio's `try_send`, which refuses until the socket's first event was
/// seen, and the first datagrams of a session come before that.
fn send_now(socket: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send(datagram)
}

/// How many replies one session moves before the others get their turn.
const BATCH: usize = 32;
