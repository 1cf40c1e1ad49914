//! One scenario of the table over one version of IP, and how far it has come.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
};

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::{
    expected::Expected,
    scenario::{By, Client, GREETING, Protocol, Scenario, Step},
    totals::{Figures, Watch},
};
use crate::{
    harness::{
        Entry, PATIENCE, Pony,
        peers::{exchange, expect_closed, expect_reset, patient, pattern, ping_udp, read_to_end},
        wait_for, wait_until,
    },
    kernel::Blocks,
    lab::{CLIENT_V4, CLIENT_V6, PROXY_V4, PROXY_V6, TARGET_V4},
};

pub(super) struct Case {
    scenario: &'static Scenario,
    family: Family,
    ports: Ports,
    /// Its place in the configuration.
    number: u32,
    listener: String,
    /// How many steps are done.
    done: usize,
    open: Vec<Option<Open>>,
    expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

/// How many ports each listener has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ports {
    One,
    Range,
}

/// Where a step takes place.
pub(super) struct Stage<'a> {
    pub(super) pony: &'a Pony,
    pub(super) watch: &'a Watch,
    pub(super) guard: Option<Guard<'a>>,
}

/// The guard while it is attached.
#[derive(Clone, Copy)]
pub(super) struct Guard<'a> {
    pub(super) refusal: Refusal,
    pub(super) blocks: &'a Blocks<'a>,
}

/// What a client sees of a connection attempt that the guard refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    Silence,
    Reset,
}

enum Open {
    Stream(TcpStream),
    Session(UdpSocket),
}

impl Case {
    pub(super) fn new(
        scenario: &'static Scenario,
        (family, ports): (Family, Ports),
        number: usize,
    ) -> Self {
        Self {
            scenario,
            family,
            ports,
            number: number.try_into().unwrap(),
            listener: format!("{} {family:?}", scenario.name).replace(' ', "_"),
            done: 0,
            open: Vec::new(),
            expected: Expected::new(scenario.protocol),
        }
    }

    /// Its listener.
    pub(super) fn entry(&self) -> Entry {
        let target = format!("{TARGET_V4}:7");
        let port = self.proxy().port();
        // The daemon's socket has the first port; clients use the last one.
        let ports = match self.ports {
            Ports::One => port.to_string(),
            Ports::Range => format!("{}-{port}", port - 1),
        };
        self.scenario.entry(&self.listener, &ports, &target)
    }

    /// Does the steps of the first half.
    pub(super) fn begin(&mut self, stage: &Stage<'_>) {
        let half = self.scenario.steps.len().div_ceil(2);
        self.run(stage, &self.scenario.steps[..half]);
    }

    /// Does the rest.
    pub(super) fn finish(&mut self, stage: &Stage<'_>) {
        self.run(stage, &self.scenario.steps[self.done..]);
        self.check(stage);
    }

    fn run(&mut self, stage: &Stage<'_>, steps: &[Step]) {
        for step in steps {
            self.expected.step(step, stage.guard.is_some());
            self.act(stage, step);
            self.check(stage);
            self.done += 1;
        }
    }

    fn act(&mut self, stage: &Stage<'_>, step: &Step) {
        match *step {
            Step::Open(client) | Step::OpenOver(client, _) => self.open(client),
            Step::Exchange(number, len) | Step::ExchangeOver(number, len) => {
                match self.open[number].as_ref().unwrap() {
                    Open::Stream(stream) => exchange(stream, &pattern(len)),
                    Open::Session(socket) => ping_udp(socket, &pattern(len)),
                }
            }
            Step::Refuse(client, _, by) => self.refuse(stage, client, by),
            Step::Lose(number, len, _) | Step::LoseReply(number, len) => self.lose(number, len),
            Step::Cut(number, len, back) => self.cut(number, len, back),
            Step::Close(number) => drop(self.open[number].take()),
            Step::Expire => {}
            Step::Free(client) => self.free(stage, client),
            Step::Forgive(client) => self.forgive(stage, client),
            Step::Ban(client, length, ended) => self.ban(stage, client, length, ended),
            Step::Shun(number, ..) => self.lose(number, GREETING.len()),
            Step::Unban(client) => {
                let client = self.address(client).to_string();
                let words = ["unban", &client, "--listener", &self.listener];
                stage.pony.ask(&words).expect(0, &[]);
            }
            Step::Outlast(client) => self.outlast(stage, client),
        }
    }

    fn open(&mut self, client: Client) {
        let open = match self.scenario.protocol {
            Protocol::Tcp => {
                let socket = self.stream_socket(client);
                let proxy = self.proxy().into();
                socket.connect_timeout(&proxy, PATIENCE).unwrap();
                let stream = patient(socket.into());
                exchange(&stream, GREETING);
                Open::Stream(stream)
            }
            Protocol::Udp => {
                let socket = self.session_socket(client);
                ping_udp(&socket, GREETING);
                Open::Session(socket)
            }
        };
        self.open.push(Some(open));
    }

    fn refuse(&self, stage: &Stage<'_>, client: Client, by: By) {
        if let (Some(guard), By::Block) = (&stage.guard, by) {
            self.wait_for_block(guard, client, true);
        }
        match self.scenario.protocol {
            Protocol::Tcp => self.refuse_stream(stage, client, by),
            Protocol::Udp => {
                self.session_socket(client).send(GREETING).unwrap();
            }
        }
    }

    fn refuse_stream(&self, stage: &Stage<'_>, client: Client, by: By) {
        let socket = self.stream_socket(client);
        socket.set_nonblocking(true).unwrap();
        let begun = socket.connect(&self.proxy().into());
        let begun = begun.unwrap_err().raw_os_error();
        assert_eq!(begun, Some(Errno::INPROGRESS.raw_os_error()));
        // Now somebody has refused it, and it can be seen who.
        self.check(stage);
        match (&stage.guard, by) {
            (Some(_), By::Either) => {}
            (Some(guard), By::Guard | By::Block) => match guard.refusal {
                Refusal::Silence => {
                    assert!(socket.take_error().unwrap().is_none());
                    assert!(socket.peer_addr().is_err(), "the connection is established");
                }
                Refusal::Reset => {
                    let error = wait_for("a reset", || socket.take_error().unwrap());
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                }
            },
            (Some(_), By::Daemon) | (None, _) => {
                socket.set_nonblocking(false).unwrap();
                expect_closed(&patient(socket.into()));
            }
        }
    }

    fn lose(&self, number: usize, len: usize) {
        let Some(Open::Session(socket)) = &self.open[number] else {
            panic!("{number} is no session");
        };
        socket.send(&pattern(len)).unwrap();
    }

    fn cut(&mut self, number: usize, len: usize, back: usize) {
        let Some(Open::Stream(mut stream)) = self.open[number].take() else {
            panic!("{number} is no connection");
        };
        stream.write_all(&pattern(len)).unwrap();
        assert!(read_to_end(stream) == pattern(len)[..back]);
    }

    fn forgive(&self, stage: &Stage<'_>, client: Client) {
        let is_forgiven = |figures: &Figures| figures.was_limited && figures.limited == 0;
        let what = |figures: &Figures| format!("not forgiven: {figures:#?}");
        stage.watch.wait(&self.listener, is_forgiven, what);
        self.free(stage, client);
    }

    fn ban(&mut self, stage: &Stage<'_>, client: Client, length: &str, ended: &[usize]) {
        let client = self.address(client).to_string();
        let words = [
            "ban",
            &client,
            "--listener",
            &self.listener,
            "--for",
            length,
        ];
        stage.pony.ask(&words).expect(0, &[]);
        for number in ended {
            // Whoever has a session only learns that it gets no answers.
            if let Some(Open::Stream(stream)) = &self.open[*number] {
                expect_reset(stream);
                self.open[*number] = None;
            }
        }
    }

    fn outlast(&self, stage: &Stage<'_>, client: Client) {
        let client = self.address(client).to_string();
        wait_until("the ban to end", || {
            let shown = stage.pony.ask(&["bans", "--json"]).json();
            let mut bans = shown["bans"].as_array().unwrap().iter();
            !bans.any(|ban| ban["listener"] == *self.listener && ban["address"] == *client)
        });
    }

    fn free(&self, stage: &Stage<'_>, client: Client) {
        if let Some(guard) = &stage.guard {
            self.wait_for_block(guard, client, false);
        }
    }

    fn wait_for_block(&self, guard: &Guard<'_>, client: Client, is_blocked: bool) {
        let client = self.address(client);
        wait_until("the daemon to block the client, or to free it", || {
            guard.blocks.holds(self.number, client) == is_blocked
        });
    }

    /// Waits until everything is counted that has happened, and nothing else.
    fn check(&self, stage: &Stage<'_>) {
        let is_right = |figures: &Figures| self.expected.is_met_by(figures);
        let what = |figures: &Figures| {
            let (number, expected) = (self.done, &self.expected);
            format!("at step {number}: {figures:#?} instead of {expected:#?}")
        };
        stage.watch.wait(&self.listener, is_right, what);
    }

    fn stream_socket(&self, client: Client) -> Socket {
        let address = SocketAddr::new(self.address(client), 0);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket
    }

    fn session_socket(&self, client: Client) -> UdpSocket {
        let socket = UdpSocket::bind((self.address(client), 0)).unwrap();
        socket.connect(self.proxy()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn address(&self, client: Client) -> IpAddr {
        match self.family {
            Family::V4 => CLIENT_V4[client as usize].into(),
            Family::V6 => CLIENT_V6[client as usize].into(),
        }
    }

    fn proxy(&self) -> SocketAddr {
        let host = match self.family {
            Family::V4 => PROXY_V4,
            Family::V6 => PROXY_V6,
        };
        let port = FIRST_PORT + 2 * self.number;
        format!("{host}:{port}").parse().unwrap()
    }
}

const FIRST_PORT: u32 = 7000;
