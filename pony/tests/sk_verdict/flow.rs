//! A flow of a test: a client, a target, and between them the two sockets of a proxy.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd as _, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

use pony::kernel::lanes::{Direction, Joined, Lanes, Side, Terms};

pub(crate) struct Flow {
    /// Who connects to the proxy.
    pub(crate) client: TcpStream,
    /// The proxy's end of that. Does not block.
    pub(crate) near: TcpStream,
    /// The proxy's end of the connection to the target. Does not block.
    pub(crate) far: TcpStream,
    /// Whom the proxy connects to.
    pub(crate) target: TcpStream,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self::on("127.0.0.1:0")
    }

    pub(crate) fn on(addr: &str) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let connect = || {
            let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let accepted = listener.accept().unwrap().0;
            for socket in [&connected, &accepted] {
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            (connected, accepted)
        };
        let (client, near) = connect();
        let (far, target) = connect();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        Self {
            client,
            near,
            far,
            target,
        }
    }

    /// The sockets of the proxy.
    pub(crate) fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.near.as_fd(), self.far.as_fd()]
    }

    /// The socket that what a side sends comes from, and the one that it goes to.
    pub(crate) fn ends(&self, side: Side) -> (&TcpStream, &TcpStream) {
        match side {
            Side::Client => (&self.near, &self.far),
            Side::Target => (&self.far, &self.near),
        }
    }

    /// Puts it into the lane, on the same terms for both directions.
    pub(crate) fn join<'a>(&'a self, lanes: &'a Lanes, terms: Terms) -> Joined<'a> {
        lanes.join(self.sockets(), [terms; 2]).unwrap()
    }

    /// Reads what was left to the daemon and writes it to the other side, once, and answers how
    /// many bytes that were; 0 at the end of the stream.
    pub(crate) fn relay(&self, direction: &Direction<'_>) -> io::Result<usize> {
        let (mut source, sink) = self.ends(direction.side());
        let mut buffer = vec![0; 65_536];
        let len = source.read(&mut buffer)?;
        direction.note_taken(len as u64);
        until("what was handed over is in the socket", || {
            direction.is_drained().unwrap()
        });
        write(sink, &buffer[..len]);
        direction.note_handed(len as u64);
        direction.promote();
        Ok(len)
    }

    /// The same if there is something, and the stream goes on.
    pub(crate) fn relay_some(&self, direction: &Direction<'_>) {
        match self.relay(direction) {
            Ok(len) => assert!(len > 0, "the stream ended"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }

    /// Out of the lane: copies what a side sends until its end.
    pub(crate) fn copy(&self, side: Side) {
        let (mut source, sink) = self.ends(side);
        let mut buffer = vec![0; 65_536];
        until_at_once("the stream ends", || match source.read(&mut buffer) {
            Ok(len) => {
                write(sink, &buffer[..len]);
                len == 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        });
    }

    /// The same as `relay` until there is no more for now.
    pub(crate) fn relay_all(&self, direction: &Direction<'_>) -> usize {
        let mut relayed = 0;
        while let Ok(len) = self.relay(direction)
            && len > 0
        {
            relayed += len;
        }
        relayed
    }
}

/// Writes to a socket that does not block, however long that takes.
pub(crate) fn write(mut sink: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends bytes and reads them at the other end.
#[track_caller]
pub(crate) fn exchange(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut read = vec![0; bytes.len()];
    to.read_exact(&mut read).unwrap();
    assert!(read == bytes, "other bytes came than were sent");
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so in time: {what}");
        thread::sleep(Duration::from_micros(50));
    }
}

/// The same without a pause: for what others wait for meanwhile.
#[track_caller]
pub(crate) fn until_at_once(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so in time: {what}");
        thread::yield_now();
    }
}

/// Bytes of which no two stretches are alike.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_ne_bytes()
    });
    words.flatten().take(len).collect()
}

pub(crate) const UNLIMITED: Terms = Terms {
    credit: Terms::UNLIMITED,
    call_at: 0,
    budget: 4 << 20,
};

const PATIENCE: Duration = Duration::from_secs(10);
