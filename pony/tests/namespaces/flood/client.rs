//! A client that asks again and again, and notes how long each answer took.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::harness::wait_until;

/// A way to ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// A new connection for every question.
    Connections,
    /// One connection for all questions.
    OneConnection,
    /// One session for all questions. What is not answered is asked again, as DNS clients do.
    Datagrams,
}

impl Way {
    /// How to ask `to` this way, in the namespace of whoever calls this: a function of the
    /// question's number that fails if no answer comes.
    pub(super) fn ask(self, from: IpAddr, to: SocketAddr) -> Box<dyn FnMut(u32) -> io::Result<()>> {
        match self {
            Self::Connections => Box::new(move |number| ask(&mut connect(from, to)?, number)),
            Self::OneConnection => {
                let mut stream = connect(from, to).unwrap();
                Box::new(move |number| ask(&mut stream, number))
            }
            Self::Datagrams => {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                socket.connect(to).unwrap();
                socket.set_read_timeout(Some(PATIENCE / TRIES)).unwrap();
                Box::new(move |number| ask_by_datagram(&socket, number))
            }
        }
    }
}

fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

fn ask(stream: &mut TcpStream, number: u32) -> io::Result<()> {
    let question = number.to_be_bytes();
    stream.write_all(&question)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, question);
    Ok(())
}

fn ask_by_datagram(socket: &UdpSocket, number: u32) -> io::Result<()> {
    let mut tries = 0..TRIES;
    loop {
        tries.next();
        socket.send(&number.to_be_bytes())?;
        let result = answer_to(number, socket);
        if result.is_ok() || tries.is_empty() {
            return result;
        }
    }
}

/// Waits for this answer; one to an earlier question may come before it.
fn answer_to(number: u32, socket: &UdpSocket) -> io::Result<()> {
    let mut answer = [0; 4];
    while answer != number.to_be_bytes() {
        socket.recv(&mut answer)?;
    }
    Ok(())
}

/// What became of each question.
#[derive(Default)]
pub(super) struct Answers(Mutex<Vec<Answer>>);

struct Answer {
    asked: Instant,
    took: Duration,
    result: io::Result<()>,
}

impl Answers {
    /// Asks until it is time to stop.
    pub(super) fn collect(&self, stop: &AtomicBool, mut ask: impl FnMut(u32) -> io::Result<()>) {
        for number in 0.. {
            if stop.load(Relaxed) {
                break;
            }
            let asked = Instant::now();
            let result = ask(number);
            let took = asked.elapsed();
            let answer = Answer {
                asked,
                took,
                result,
            };
            self.0.lock().unwrap().push(answer);
            thread::sleep(PACE);
        }
    }

    /// Waits until the question that is under way now has been answered, and one more.
    #[track_caller]
    pub(super) fn wait_for_more(&self) {
        let count = || self.0.lock().unwrap().len();
        let before = count();
        wait_until("more answers", || count() >= before + 2);
    }

    /// Those of questions that had no answer yet when this began, or were asked before it ended.
    pub(super) fn between(&self, start: Instant, end: Instant) -> Summary {
        let mut summary = Summary::default();
        for answer in &*self.0.lock().unwrap() {
            if answer.asked + answer.took < start || answer.asked > end {
                continue;
            }
            match &answer.result {
                Ok(()) => summary.served += 1,
                Err(error) => summary.failed.push(error.to_string()),
            }
            summary.slowest = summary.slowest.max(answer.took);
        }
        summary
    }
}

/// Some answers.
#[derive(Default)]
pub(super) struct Summary {
    served: usize,
    /// Why the others did not come.
    failed: Vec<String>,
    slowest: Duration,
}

impl Summary {
    #[track_caller]
    pub(super) fn all_served(&self, who: &str) {
        assert!(self.failed.is_empty(), "{who}: {:?}", self.failed);
        assert!(self.served > 0, "{who}: nobody asked");
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (served, failed) = (self.served, self.failed.len());
        let slowest = self.slowest.as_millis();
        write!(f, "{served} served, {failed} failed, slowest {slowest} ms")
    }
}

/// How long a question may remain without an answer.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often a datagram is sent within that time.
const TRIES: u32 = 6;
/// Between an answer and the next question: the machine is to be busy with the flood.
const PACE: Duration = Duration::from_millis(2);
