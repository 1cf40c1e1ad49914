//! The target: reads and discards, writes, or answers.
//!
//! One for each place. Its threads go on until the process ends.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use rustix::event::epoll::EventFlags;
use socket2::{Domain, Socket, Type};

use crate::{
    door::{Call, Door},
    mirror::Mirror,
    pattern::{CHUNK, chunk, is_at},
    place::Place,
    workers,
};

pub(crate) struct Target {
    /// Connections that wait for something to answer.
    conversations: Arc<AtomicUsize>,
}

impl Target {
    pub(crate) fn start(place: &Place) -> Self {
        let ends = place.targets();
        let conversations = Arc::<AtomicUsize>::default();
        place.target.enter(|| {
            for_each(&listen(ends.sink), sink);
            for_each(&listen(ends.source), source);
            for _ in 0..workers() {
                let (listener, open) = (listen(ends.echo), Arc::clone(&conversations));
                thread::spawn(move || Echo::new(listener, &open).unwrap().run().unwrap());
                let socket = bind(ends.echo, Type::DGRAM).into();
                thread::spawn(move || answer_datagrams(&socket).unwrap());
                let listener = listen(ends.mirror);
                thread::spawn(move || Mirror::new(listener).unwrap().run().unwrap());
            }
        });
        Self { conversations }
    }

    /// How many connections wait for something to answer.
    pub(crate) fn conversations(&self) -> usize {
        self.conversations.load(Relaxed)
    }
}

/// Several may have one address: connections are then spread over them.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = bind(address, Type::STREAM);
    socket.listen(BACKLOG).unwrap();
    socket.into()
}

fn bind(address: SocketAddr, kind: Type) -> Socket {
    let socket = Socket::new(Domain::IPV4, kind, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// A thread for each connection.
fn for_each(listener: &TcpListener, serve: fn(TcpStream) -> io::Result<()>) {
    let listener = listener.try_clone().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // What went wrong is the client's to tell: it has no answer.
            thread::spawn(move || drop(serve(stream)));
        }
    });
}

/// Answers with the number of bytes, or [`WRONG`].
fn sink(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    let mut is_right = true;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            let answer = if is_right { total } else { WRONG };
            return stream.write_all(&answer.to_be_bytes());
        }
        is_right &= is_at(total, &buffer[..count]);
        total += count as u64;
    }
}

/// One thread's part of the datagrams.
fn answer_datagrams(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let (len, client) = socket.recv_from(&mut buffer)?;
        // Who is gone meanwhile needs no answer.
        socket.send_to(&buffer[..len], client).ok();
    }
}

/// Writes whole chunks until it is told to end.
fn source(mut stream: TcpStream) -> io::Result<()> {
    let mut other = stream.try_clone()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(other.read(&mut [0]));
            is_over.store(true, Relaxed);
        });
        while !is_over.load(Relaxed) {
            stream.write_all(chunk())?;
        }
        stream.shutdown(Shutdown::Write)
    })
}

/// One thread's part of the conversations.
struct Echo<'a> {
    door: Door,
    streams: HashMap<u64, TcpStream>,
    open: &'a AtomicUsize,
}

impl<'a> Echo<'a> {
    fn new(listener: TcpListener, open: &'a AtomicUsize) -> io::Result<Self> {
        Ok(Self {
            door: Door::new(listener, EventFlags::IN)?,
            streams: HashMap::new(),
            open,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            match self.door.next()? {
                Call::New(key, stream) => {
                    self.streams.insert(key, stream);
                    self.open.fetch_add(1, Relaxed);
                }
                Call::Known(key) => self.answer(key),
            }
        }
    }

    fn answer(&mut self, key: u64) {
        let mut buffer = [0; 4096];
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let answered = stream.read(&mut buffer).and_then(|count| {
            stream.write_all(&buffer[..count])?;
            Ok(count)
        });
        let is_open = match answered {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        if !is_open {
            self.streams.remove(&key);
            self.open.fetch_sub(1, Relaxed);
        }
    }
}

/// Instead of a number of bytes: they were not those that were sent.
pub(crate) const WRONG: u64 = u64::MAX;
const BACKLOG: i32 = 4096;
