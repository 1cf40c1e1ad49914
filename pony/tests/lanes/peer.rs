//! A target in a process of its own, to be stopped and killed: this program once more.

use std::{
    env,
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
};

use tokio::io::AsyncReadExt as _;

use crate::{
    bytes::Content,
    dice::index,
    harness::peers::{expect_bytes, patient},
};

/// What goes each way of its one flow, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cargo {
    pub(crate) seed: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

/// The process. Killed when it is dropped.
pub(crate) struct Peer {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// How it ended for one side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    /// The error that it met, or `None` at an end of file.
    pub(crate) error: Option<String>,
}

impl Peer {
    /// A target for one flow with this cargo.
    pub(crate) fn start(cargo: Cargo) -> Self {
        let Cargo { seed, up, down } = cargo;
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "peer::is_a_target_where_it_is_told_to_be_one",
                "--nocapture",
            ])
            .env(CARGO, format!("{seed} {up} {down}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = says(&mut output, LISTENS).parse().unwrap();
        Self {
            child,
            output,
            address,
        }
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for the end of its flow: what it received, all of it right.
    #[track_caller]
    pub(crate) fn received(&mut self) -> Received {
        let said = says(&mut self.output, RECEIVED);
        let (bytes, error) = said.split_once(' ').unwrap();
        Received {
            bytes: bytes.parse().unwrap(),
            error: (!error.is_empty()).then(|| error.to_owned()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Cargo {
    pub(crate) fn content_up(self) -> Content {
        Content::new(self.seed, 1)
    }

    pub(crate) fn content_down(self) -> Content {
        Content::new(self.seed, 2)
    }

    /// Sends one direction and receives the other, as the client or as the target.
    pub(crate) fn exchange(self, stream: &TcpStream, is_client: bool) -> Received {
        let (up, down) = (
            (self.content_up(), self.up),
            (self.content_down(), self.down),
        );
        let ((sends, len), (receives, _)) = if is_client { (up, down) } else { (down, up) };
        thread::scope(|scope| {
            let sender = scope.spawn(|| send(stream, sends, len));
            let Received { bytes, error } = receive(stream, receives);
            // Of the two, one meets the reset; the other may see what looks like an end.
            let failed = sender.join().unwrap().err().map(|error| error.to_string());
            Received {
                bytes,
                error: error.or(failed),
            }
        })
    }
}

/// Sends from one end and receives at the other.
#[track_caller]
pub(crate) fn pass(mut from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    expect_bytes(to, bytes);
}

/// What was received when all came and then an end of file.
pub(crate) fn whole(bytes: u64) -> Received {
    Received { bytes, error: None }
}

/// Sends so much and then end of file.
pub(crate) fn send(stream: &TcpStream, content: Content, len: u64) -> io::Result<()> {
    send_part(stream, content, 0..len)?;
    stream.shutdown(Shutdown::Write)
}

/// Sends the bytes from one offset to another.
pub(crate) fn send_part(
    mut stream: &TcpStream,
    content: Content,
    mut part: Range<u64>,
) -> io::Result<()> {
    while !part.is_empty() {
        let len = (part.end - part.start).min(PIECE);
        match stream.write(content.at(part.start, index(len))) {
            Ok(written) => part.start += written as u64,
            Err(error) if was_stopped(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives and checks until the end.
pub(crate) fn receive(mut stream: &TcpStream, content: Content) -> Received {
    let mut buffer = vec![0; index(PIECE)];
    let mut bytes = 0;
    let error = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break None,
            Ok(len) => {
                content.check(bytes, &buffer[..len]).unwrap();
                bytes += len as u64;
            }
            Err(error) if was_stopped(&error) => {}
            Err(error) => break Some(error.to_string()),
        }
    };
    Received { bytes, error }
}

/// A call on a socket with a timeout does not go on by itself after the process was stopped.
fn was_stopped(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// Like [`receive`], in a task.
pub(crate) async fn receive_async(mut stream: tokio::net::TcpStream, content: Content) -> Received {
    let mut buffer = vec![0; index(PIECE)];
    let mut bytes = 0;
    let error = loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break None,
            Ok(len) => {
                content.check(bytes, &buffer[..len]).unwrap();
                bytes += len as u64;
            }
            Err(error) => break Some(error.to_string()),
        }
    };
    Received { bytes, error }
}

fn says(output: &mut impl BufRead, what: &str) -> String {
    output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.split_once(what).map(|(_, rest)| rest.to_owned()))
        .unwrap_or_else(|| panic!("the target never said {what:?}"))
}

#[test]
fn is_a_target_where_it_is_told_to_be_one() {
    let Ok(cargo) = env::var(CARGO) else { return };
    let numbers: Vec<u64> = cargo.split(' ').map(|word| word.parse().unwrap()).collect();
    let [seed, up, down] = numbers[..] else {
        panic!("{cargo:?} is no cargo")
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{LISTENS}{}", listener.local_addr().unwrap());
    let (stream, _) = listener.accept().unwrap();
    let received = Cargo { seed, up, down }.exchange(&patient(stream), false);
    println!(
        "{RECEIVED}{} {}",
        received.bytes,
        received.error.unwrap_or_default()
    );
}

const CARGO: &str = "PONY_TEST_CARGO";
const LISTENS: &str = "listens on ";
const RECEIVED: &str = "received ";
const PIECE: u64 = 1 << 16;
