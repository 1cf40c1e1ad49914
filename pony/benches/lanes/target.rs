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

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    net::{SocketFlags, accept_with},
};
use socket2::{Domain, Socket, Type};

use crate::{
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
    epoll: std::os::fd::OwnedFd,
    listener: TcpListener,
    streams: HashMap<u64, TcpStream>,
    next: u64,
    open: &'a AtomicUsize,
}

impl<'a> Echo<'a> {
    fn new(listener: TcpListener, open: &'a AtomicUsize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            listener,
            streams: HashMap::new(),
            next: LISTENER + 1,
            open,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    key => self.answer(key),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = TcpStream::from(accept_with(&self.listener, flags)?);
        let data = EventData::new_u64(self.next);
        epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
        self.streams.insert(self.next, stream);
        self.next += 1;
        self.open.fetch_add(1, Relaxed);
        Ok(())
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
const LISTENER: u64 = 0;
const BACKLOG: i32 = 4096;
