//! Flows that go into the lane and out of it all the time, whatever their ends do.

use std::{
    env,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use pony::kernel::lanes::{Direction, JoinError, Joined, Lanes, Left, Side};

use crate::{
    assert_no_slips,
    flow::{Flow, UNLIMITED, noise, write},
    lanes,
};

#[test]
fn no_byte_is_lost_whatever_the_ends_do() {
    let Some(lanes) = lanes(AT_ONCE) else { return };
    for habit in &HABITS {
        let start = Instant::now();
        let mut tally = hammer(&lanes, habit);
        while start.elapsed() < hammering() {
            tally.add(&hammer(&lanes, habit));
        }
        println!("{:<13} {tally:?}", habit.name);
        assert!(tally.joined > 0, "{}: {tally:?}", habit.name);
        assert_no_slips(&lanes);
    }
}

/// How both ends of a flow send and read.
struct Habit {
    name: &'static str,
    /// How much each end sends.
    total: Range<usize>,
    /// How much it writes at once.
    piece: Range<usize>,
    /// How long it rests after that, in microseconds.
    rest: Range<u64>,
    /// How long the other end rests after a read.
    slowness: Range<u64>,
    /// How long the flow stays in the lane and out of it.
    stay: Range<u64>,
}

const BULK: Habit = Habit {
    name: "bulk",
    total: 100_000_000..200_000_000,
    piece: 60_000..300_000,
    rest: 0..1,
    slowness: 0..1,
    stay: 0..300,
};

const HABITS: [Habit; 5] = [
    BULK,
    Habit {
        name: "small pieces",
        total: 1_000_000..2_000_000,
        piece: 1..400,
        ..BULK
    },
    Habit {
        name: "conversation",
        total: 500_000..1_000_000,
        piece: 1..1_000,
        rest: 0..100,
        ..BULK
    },
    Habit {
        name: "slow reader",
        total: 10_000_000..20_000_000,
        slowness: 0..2_000,
        ..BULK
    },
    Habit {
        name: "short flows",
        total: 0..200_000,
        piece: 1..50_000,
        rest: 0..30,
        stay: 0..50,
        ..BULK
    },
];

#[derive(Debug, Default)]
struct Tally {
    flows: u64,
    bytes: u64,
    joined: u64,
    restless: u64,
    out: u64,
    /// Flows that had ended when they were out.
    late: u64,
    joining: Duration,
    leaving: Duration,
    passed: u64,
    redirected: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.bytes += other.bytes;
        self.joined += other.joined;
        self.restless += other.restless;
        self.out += other.out;
        self.late += other.late;
        self.joining += other.joining;
        self.leaving += other.leaving;
        self.passed += other.passed;
        self.redirected += other.redirected;
    }
}

fn hammer(lanes: &Lanes, habit: &Habit) -> Tally {
    let pattern = noise(1_000_003);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let flows: Vec<_> = (0..AT_ONCE)
            .map(|_| scope.spawn(|| hammer_one(lanes, habit, &pattern)))
            .collect();
        for flow in flows {
            tally.add(&flow.join().unwrap());
        }
    });
    tally
}

fn hammer_one(lanes: &Lanes, habit: &Habit, pattern: &[u8]) -> Tally {
    let mut tally = Tally::default();
    let flow = Flow::new();
    let mut chance = Chance::new();
    let totals = [chance.of(&habit.total), chance.of(&habit.total)];
    let arrived = thread::scope(|scope| {
        let ends = [
            (&flow.client, &flow.target, totals[0]),
            (&flow.target, &flow.client, totals[1]),
        ];
        let receivers = ends.map(|(one, other, total)| {
            scope.spawn(move || send(one, pattern, total, habit));
            scope.spawn(move || receive(other, pattern, habit))
        });
        Proxy::new(&flow, lanes, &mut tally).run(habit);
        receivers.map(|receiver| receiver.join().unwrap())
    });
    assert_eq!(arrived, totals);
    tally.flows += 1;
    tally.bytes += (totals[0] + totals[1]) as u64;
    tally
}

fn send(mut socket: &TcpStream, pattern: &[u8], total: usize, habit: &Habit) {
    let mut chance = Chance::new();
    let mut sent = 0;
    while sent < total {
        let at = sent % pattern.len();
        let len = chance.of(&habit.piece).min(total - sent);
        let piece = &pattern[at..pattern.len().min(at + len)];
        socket.write_all(piece).unwrap();
        sent += piece.len();
        chance.rest(&habit.rest);
    }
    drop(socket.shutdown(Shutdown::Write));
}

/// Checks every byte that comes, and answers how many did.
fn receive(mut socket: &TcpStream, pattern: &[u8], habit: &Habit) -> usize {
    let mut chance = Chance::new();
    let mut buffer = vec![0; 200_000];
    let mut read = 0;
    loop {
        let at = read % pattern.len();
        let most = buffer.len().min(pattern.len() - at);
        let len = match socket.read(&mut buffer[..most]) {
            Ok(0) => return read,
            Ok(len) => len,
            Err(error) => panic!("{error}"),
        };
        assert!(buffer[..len] == pattern[at..at + len], "after {read} bytes");
        read += len;
        chance.rest(&habit.slowness);
    }
}

/// What the daemon would do.
struct Proxy<'a> {
    flow: &'a Flow,
    lanes: &'a Lanes,
    tally: &'a mut Tally,
    chance: Chance,
    /// Which directions have ended.
    ended: [bool; 2],
}

impl<'a> Proxy<'a> {
    fn new(flow: &'a Flow, lanes: &'a Lanes, tally: &'a mut Tally) -> Self {
        Self {
            flow,
            lanes,
            tally,
            chance: Chance::new(),
            ended: [false; 2],
        }
    }

    fn run(mut self, habit: &Habit) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.ended != [true; 2] {
            assert!(Instant::now() < deadline, "it hangs: {:?}", self.ended);
            if self.ended.contains(&true) {
                self.copy();
                continue;
            }
            let start = Instant::now();
            match self.lanes.join(self.flow.sockets(), [UNLIMITED; 2]) {
                Ok(joined) => {
                    self.tally.joining += start.elapsed();
                    self.tally.joined += 1;
                    self.in_lane(joined, habit);
                }
                Err(JoinError::NotOpen) => {}
                Err(JoinError::Restless) => self.tally.restless += 1,
                Err(error) => panic!("{error}"),
            }
            let stay = Duration::from_micros(self.chance.of64(&habit.stay));
            let until = Instant::now() + stay;
            while Instant::now() < until {
                self.copy();
            }
        }
    }

    fn in_lane(&mut self, mut joined: Joined<'_>, habit: &Habit) {
        let stay = Duration::from_micros(self.chance.of64(&habit.stay));
        let until = Instant::now() + stay;
        while Instant::now() < until {
            self.attend(&joined);
        }
        let start = Instant::now();
        while joined.leave() != Left::Out {
            self.attend(&joined);
            if self.ended == [true; 2] {
                self.tally.late += 1;
                return;
            }
        }
        self.tally.leaving += start.elapsed();
        self.tally.out += 1;
        for side in [Side::Client, Side::Target] {
            let progress = joined.from(side).progress();
            self.tally.passed += progress.passed;
            self.tally.redirected += progress.redirected;
        }
    }

    fn attend(&mut self, joined: &Joined<'_>) {
        for side in [Side::Client, Side::Target] {
            self.attend_to(joined.from(side));
        }
    }

    /// Relays what is left to the daemon, and passes on an end.
    fn attend_to(&mut self, direction: &Direction<'_>) {
        let side = direction.side();
        assert!(!direction.is_broken(), "bytes are missing");
        if self.ended[side as usize] {
            return;
        }
        match self.flow.relay(direction) {
            Ok(0) if direction.is_over().unwrap() => self.end(side),
            Ok(_) => thread::yield_now(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Copies once in both directions, out of the lane.
    fn copy(&mut self) {
        let mut buffer = vec![0; 65_536];
        let most = 1 + self.chance.of(&(0..buffer.len()));
        for side in [Side::Client, Side::Target] {
            if self.ended[side as usize] {
                continue;
            }
            match self.flow.ends(side).0.read(&mut buffer[..most]) {
                Ok(0) => self.end(side),
                Ok(len) => write(self.flow.ends(side).1, &buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        thread::yield_now();
    }

    fn end(&mut self, side: Side) {
        self.flow.ends(side).1.shutdown(Shutdown::Write).unwrap();
        self.ended[side as usize] = true;
    }
}

/// How long each habit is tried at least. `PONY_LONG=1` says something about what is rare.
fn hammering() -> Duration {
    let is_long = env::var_os("PONY_LONG").is_some_and(|value| value == "1");
    Duration::from_secs(if is_long { 15 } else { 0 })
}

/// How many flows there are at once: they leave by the same walks.
const AT_ONCE: u32 = 4;

/// A draw of numbers.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).unwrap();
        Self(u64::from_ne_bytes(seed) | 1)
    }

    fn of64(&mut self, range: &Range<u64>) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 % (range.end - range.start)
    }

    fn of(&mut self, range: &Range<usize>) -> usize {
        let range = range.start as u64..range.end as u64;
        usize::try_from(self.of64(&range)).unwrap()
    }

    fn rest(&mut self, range: &Range<u64>) {
        if range.end > 1 {
            thread::sleep(Duration::from_micros(self.of64(range)));
        }
    }
}
