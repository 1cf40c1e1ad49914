use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    proxy_header::{Ends, Fields, Version, decode, encode},
    sys::tcp::unread,
};

/// A connection of which both ends are ours.
struct Wire {
    near: TcpStream,
    far: TcpStream,
}

/// How a header was read that came in pieces.
struct Read {
    /// What the reading said last, and what has come by then.
    last: Result<Option<Header>, Problem>,
    arrived: usize,
    /// What is not in the socket any more.
    taken: Vec<u8>,
    /// What is.
    left: Vec<u8>,
}

impl Wire {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        far.set_nodelay(true).unwrap();
        let (near, _) = listener.accept().unwrap();
        Self { near, far }
    }

    /// Sends these bytes, cut here, until the reading has come to an end. `check` is told what the reading
    /// says of all that has come. The wire is empty afterwards.
    fn read(&self, bytes: &[u8], cuts: &[usize]) -> Read {
        let mut reading = Reading::default();
        let mut last = Ok(None);
        let mut arrived = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            if !matches!(last, Ok(None)) || end == arrived {
                continue;
            }
            (&self.far).write_all(&bytes[arrived..end]).unwrap();
            arrived = end;
            self.expect_unread(arrived - reading.taken);
            last = reading.attempt(self.near.as_fd());
        }
        let mut left = vec![0; arrived - reading.taken];
        (&self.near).read_exact(&mut left).unwrap();
        let taken = reading.buffer[..reading.taken].to_vec();
        Read {
            last,
            arrived,
            taken,
            left,
        }
    }

    fn expect_unread(&self, len: usize) {
        while unread(self.near.as_fd()).unwrap() < len as u64 {
            thread::yield_now();
        }
    }
}

/// Headers, what nearly is one, and what is none, with something behind it.
fn any_beginning() -> impl Strategy<Value = Vec<u8>> {
    let ends = any::<(SocketAddr, SocketAddr)>().prop_map(|(source, destination)| Ends {
        source,
        destination,
    });
    let fields = proptest::option::of(vec(any::<u8>(), 0..600)).prop_map(|alpn| Fields {
        alpn,
        ..Fields::default()
    });
    let version = prop_oneof![Just(Version::V1), Just(Version::V2)];
    let header = (version, ends, fields)
        .prop_map(|(version, ends, fields)| encode(version, Transport::Stream, ends, &fields));
    let begun = prop_oneof![
        Just(Vec::new()),
        Just(b"PROXY ".to_vec()),
        Just(b"PROXY UNKNOWN\r\n".to_vec()),
        Just(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x07".to_vec()),
        Just(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x01".to_vec()),
    ];
    let changes = vec((any::<Index>(), any::<u8>()), 0..3);
    let rest = vec(any::<u8>(), 0..400);
    (prop_oneof![4 => header, 1 => begun], changes, rest).prop_map(|(mut bytes, changes, rest)| {
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes.extend(rest);
        bytes
    })
}

thread_local! {
    static WIRE: Wire = Wire::new();
}

proptest! {
    #[test]
    fn however_it_is_cut_a_header_is_read_as_if_it_came_at_once_and_what_follows_stays(
        bytes in any_beginning(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let read = WIRE.with(|wire| wire.read(&bytes, &cuts));
        let come = &bytes[..read.arrived];
        prop_assert_eq!([&read.taken[..], &read.left].concat(), come);
        match decode(come, Transport::Stream) {
            Ok(Progress::Complete { header, len }) => {
                prop_assert_eq!(read.last.unwrap(), Some(header));
                prop_assert_eq!(read.taken.len(), len);
            }
            Ok(Progress::More(_)) => {
                prop_assert!(matches!(read.last, Ok(None)), "{:?}", read.last);
                prop_assert!(has_begun(come) || read.taken.is_empty());
            }
            Err(error) => match read.last {
                Err(Problem::Header(said)) => prop_assert_eq!(said, error),
                other => prop_assert!(false, "{error:?}: {other:?}"),
            },
        }
    }
}

/// The longest header is longer than what a receive buffer of this machine may hold.
#[test]
fn a_header_that_does_not_fit_into_the_receive_buffer_is_read() {
    let wire = Wire::new();
    socket2::SockRef::from(&wire.near)
        .set_recv_buffer_size(4096)
        .unwrap();
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\xff\xff"[..], &vec![0; 0xffff]].concat();
    let all = [&header, &b"payload"[..]].concat();
    let mut far = wire.far.try_clone().unwrap();
    let writer = thread::spawn(move || far.write_all(&all).unwrap());
    let mut reading = Reading::default();
    let (mut read, begun) = (None, Instant::now());
    while read.is_none() {
        assert!(
            begun.elapsed() < PATIENCE,
            "{} bytes came",
            reading.received
        );
        read = reading.attempt(wire.near.as_fd()).unwrap();
    }
    assert_eq!(read.unwrap().ends, None);
    let mut payload = [0; 7];
    (&wire.near).read_exact(&mut payload).unwrap();
    assert_eq!(&payload, b"payload");
    writer.join().unwrap();
}

/// Longer than it takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(30);
