//! What an allowed client gets done while the proxy is flooded from addresses that are denied.
//!
//! The flood is the same for all, if they let it: who refuses at less cost leaves more of the
//! machine to those who are served.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rustix::process::nice;

use crate::{
    Effort,
    frame::Kind,
    lab::{PORT, PROXY, TARGET},
    rate::{Refusing, Way, stay_on_one_core},
    report::Report,
    traffic::Traffic,
};

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let mut traffic = Traffic::load();
    let ways: Vec<_> = Way::ALL.into_iter().map(Refusing::start).collect();
    for refusing in &ways {
        serve(refusing);
    }
    let time = Duration::from_millis(effort.pick(2_000, 200).into());
    for (what, kind) in FLOODS {
        let mut figures = vec![Figures::default(); ways.len()];
        for _ in 0..effort.pick(5, 1) {
            for (refusing, figures) in ways.iter().zip(&mut figures) {
                figures.add(&run(refusing, &mut traffic, kind, time));
            }
        }
        for (refusing, figures) in ways.iter().zip(figures) {
            figures.report(report, &format!("{what}: {}", refusing.way.name()));
        }
    }
}

/// The values of all rounds.
#[derive(Clone, Default)]
struct Figures {
    requests: Vec<f64>,
    failed: Vec<f64>,
    flood: Vec<f64>,
}

/// What was seen in one round, for each second.
struct Round {
    requests: f64,
    failed: f64,
    flood: f64,
}

impl Figures {
    fn add(&mut self, round: &Round) {
        self.requests.push(round.requests);
        self.failed.push(round.failed);
        self.flood.push(round.flood / 1e6);
    }

    fn report(self, report: &mut Report, name: &str) {
        report.add(SECTION, name, "req/s", self.requests);
        report.add(SECTION, &format!("{name}, failed"), "req/s", self.failed);
        if self.flood.iter().any(|rate| *rate > 0.0) {
            report.add(SECTION, &format!("{name}, flood"), "M/s", self.flood);
        }
    }
}

/// The target of the proxy: one answer for each connection.
fn serve(refusing: &Refusing) {
    let listener = refusing
        .lab
        .target
        .enter(|| TcpListener::bind((TARGET, PORT)).unwrap());
    for _ in 0..CLIENTS {
        let listener = listener.try_clone().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that gave up is no concern of the server.
                drop(answer(stream));
            }
        });
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST.len()])?;
    stream.write_all(&ANSWER)
}

fn run(refusing: &Refusing, traffic: &mut Traffic, kind: Option<Kind>, time: Duration) -> Round {
    let frame = kind.map(|kind| refusing.aim(traffic, kind));
    let is_over = AtomicBool::new(false);
    let [served, failed] = [AtomicU64::new(0), AtomicU64::new(0)];
    let client = || {
        while !is_over.load(Relaxed) {
            let outcome = if request().is_ok() { &served } else { &failed };
            outcome.fetch_add(1, Relaxed);
        }
    };
    let start = Instant::now();
    let sent = refusing.lab.client.enter(|| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(client);
            }
            let sent = if let Some(frame) = frame {
                send(traffic, &frame, time)
            } else {
                thread::sleep(time);
                0
            };
            is_over.store(true, Relaxed);
            sent
        })
    });
    let seconds = start.elapsed().as_secs_f64();
    let each = |count: u64| f64::from(u32::try_from(count).unwrap()) / seconds;
    Round {
        requests: each(served.into_inner()),
        failed: each(failed.into_inner()),
        flood: each(sent.into()),
    }
}

/// Floods at [`RATE`] for so long, or as fast as it can where that is slower; returns how many
/// packets that were.
fn send(traffic: &Traffic, frame: &[u8], time: Duration) -> u32 {
    stay_on_one_core();
    // What comes from outside does not wait for our scheduler.
    nice(-20).unwrap();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        let due = u64::from(RATE) * u64::try_from(start.elapsed().as_micros()).unwrap() / 1_000_000;
        let count = u32::try_from(due).unwrap() - sent;
        if count < BATCH {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let count = count.min(10 * BATCH);
        traffic.flood(frame, count);
        sent += count;
    }
    sent
}

/// A connection, a question and its answer.
fn request() -> io::Result<()> {
    let proxy = SocketAddr::from((PROXY, PORT));
    let mut stream = TcpStream::connect_timeout(&proxy, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&REQUEST)?;
    stream.read_exact(&mut [0; ANSWER.len()])
}

const SECTION: &str = "Requests of an allowed client, each a connection, under a flood";
const FLOODS: [(&str, Option<Kind>); 3] = [
    ("no flood", None),
    ("SYN flood", Some(Kind::Syn)),
    ("UDP flood", Some(Kind::Udp)),
];
/// Packets in a second.
const RATE: u32 = 150_000;
const BATCH: u32 = 300;
const CLIENTS: usize = 4;
const REQUEST: [u8; 32] = [b'q'; 32];
const ANSWER: [u8; 512] = [b'a'; 512];
/// After this long a request has failed.
const PATIENCE: Duration = Duration::from_secs(1);
