//! What a client, a target and an operator see of a flow's end: the same in every lane as in the
//! copy lane.

mod forced;

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    panic::resume_unwind,
    sync::OnceLock,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::{
        Pony,
        peers::{
            accept, closed_port, connect, expect_bytes, expect_reset, fill, pattern, read_to_end,
            reset, tcp_listener, unresponsive, write_behind,
        },
        wait_until,
    },
    lane::Lane,
    proof::Proof,
};

in_every_lane!(shared: every_end_looks_as_it_does_in_the_copy_lane);

/// What was seen of one flow.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Outcome {
    scenario: &'static str,
    client: Seen,
    target: Seen,
    /// Of the close event.
    error: String,
    sent: u64,
    received: u64,
}

/// What one side read, and how it ended.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Seen {
    /// So many right bytes and an end of file.
    Eof(u64),
    Reset(u64),
    /// It left by itself.
    Left,
    /// It never was part of it.
    Nothing,
}

/// A flow of which both ends are in the scenario's hands.
struct Flow<'a> {
    pony: &'a Pony,
    lane: Lane,
    client: TcpStream,
    target: TcpStream,
}

struct Scenario {
    name: &'static str,
    /// More keys for the listener's block `tcp:`.
    tcp: &'static str,
    play: fn(Flow) -> (Seen, Seen),
}

fn every_end_looks_as_it_does_in_the_copy_lane(lane: Lane) {
    static COPY: OnceLock<Vec<Outcome>> = OnceLock::new();
    let expected = COPY.get_or_init(|| outcomes(Lane::Copy));
    if lane == Lane::Copy {
        let errors: Vec<_> = expected
            .iter()
            .map(|outcome| (outcome.scenario, outcome.error.as_str()))
            .collect();
        assert_eq!(errors, ERRORS, "{expected:#?}");
    }
    for (outcome, expected) in outcomes(lane).iter().zip(expected) {
        assert_eq!(outcome, expected, "in lane {lane}");
    }
}

/// Plays all at once.
fn outcomes(lane: Lane) -> Vec<Outcome> {
    thread::scope(|scope| {
        let scenarios = SCENARIOS.iter().chain(&forced::SCENARIOS);
        let played = scenarios.map(|scenario| scope.spawn(move || scenario.outcome(lane)));
        let mut threads: Vec<_> = played.collect();
        threads.push(scope.spawn(move || refused(lane)));
        threads.push(scope.spawn(move || unanswered(lane)));
        let outcomes = threads.into_iter().map(ScopedJoinHandle::join);
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

const SCENARIOS: [Scenario; 12] = [
    Scenario {
        name: "the target answers after the client's end of file",
        tcp: "",
        play: |flow| {
            (&flow.client).write_all(&pattern(300_000)).unwrap();
            flow.client.shutdown(Shutdown::Write).unwrap();
            let target = seen(&flow.target);
            let answer = write_behind(&flow.target, pattern(200_000));
            let mut bytes = vec![0; 200_000];
            (&flow.client).read_exact(&mut bytes).unwrap();
            answer.join().unwrap().unwrap();
            (&flow.target).write_all(b"end").unwrap();
            flow.target.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&flow.client), b"end");
            (Seen::Eof(200_003), target)
        },
    },
    Scenario {
        name: "the client goes on after the target's end of file",
        tcp: "",
        play: |flow| {
            (&flow.target).write_all(b"greeting").unwrap();
            flow.target.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&flow.client), b"greeting");
            let upload = write_behind(&flow.client, pattern(300_000));
            let mut bytes = vec![0; 300_000];
            (&flow.target).read_exact(&mut bytes).unwrap();
            upload.join().unwrap().unwrap();
            flow.client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&flow.target), b"");
            (Seen::Eof(8), Seen::Eof(300_000))
        },
    },
    Scenario {
        name: "the client closes without a word",
        tcp: "",
        play: |flow| {
            drop(flow.client);
            (Seen::Left, seen(&flow.target))
        },
    },
    Scenario {
        name: "the target closes without a word",
        tcp: "",
        play: |flow| {
            drop(flow.target);
            (seen(&flow.client), Seen::Left)
        },
    },
    Scenario {
        name: "the client resets after bytes",
        tcp: "",
        play: |flow| {
            (&flow.client).write_all(&pattern(10_000)).unwrap();
            expect_bytes(&flow.target, &pattern(10_000));
            reset(flow.client);
            (Seen::Left, seen(&flow.target))
        },
    },
    Scenario {
        name: "the target resets after bytes",
        tcp: "",
        play: |flow| {
            (&flow.target).write_all(&pattern(10_000)).unwrap();
            expect_bytes(&flow.client, &pattern(10_000));
            reset(flow.target);
            (seen(&flow.client), Seen::Left)
        },
    },
    Scenario {
        name: "the client resets after its end of file",
        tcp: "",
        play: |flow| {
            flow.client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&flow.target), b"");
            reset(flow.client);
            expect_reset(&flow.target);
            (Seen::Left, Seen::Reset(0))
        },
    },
    Scenario {
        name: "the target resets while the client reads nothing",
        tcp: "",
        play: |flow| {
            fill(&flow.target);
            reset(flow.target);
            expect_reset(&flow.client);
            (Seen::Reset(0), Seen::Left)
        },
    },
    Scenario {
        name: "nobody says anything",
        tcp: "idle_timeout: 300ms",
        play: |flow| (seen(&flow.client), seen(&flow.target)),
    },
    Scenario {
        name: "both fall silent",
        tcp: "idle_timeout: 300ms",
        play: |flow| {
            (&flow.client).write_all(&pattern(10_000)).unwrap();
            expect_bytes(&flow.target, &pattern(10_000));
            (seen(&flow.client), seen(&flow.target))
        },
    },
    Scenario {
        name: "the target says nothing",
        tcp: "read_timeout: 700ms",
        play: |flow| {
            let client = flow.client.try_clone().unwrap();
            let chatter = thread::spawn(move || {
                while (&client).write_all(b".").is_ok() {
                    thread::sleep(Duration::from_millis(10));
                }
            });
            flow.pony.closes_with("read timeout");
            chatter.join().unwrap();
            (Seen::Left, Seen::Left)
        },
    },
    Scenario {
        name: "the target takes nothing",
        tcp: "write_timeout: 300ms",
        play: |flow| {
            assert!(
                write_behind(&flow.client, vec![7; 200 << 20])
                    .join()
                    .unwrap()
                    .is_err()
            );
            (Seen::Left, Seen::Left)
        },
    },
];

/// How the daemon names these ends, in the order of [`outcomes`].
const ERRORS: [(&str, &str); 18] = [
    ("the target answers after the client's end of file", ""),
    ("the client goes on after the target's end of file", ""),
    ("the client closes without a word", ""),
    ("the target closes without a word", ""),
    ("the client resets after bytes", "client: reset"),
    ("the target resets after bytes", "target: reset"),
    ("the client resets after its end of file", "client: reset"),
    (
        "the target resets while the client reads nothing",
        "target: reset",
    ),
    ("nobody says anything", "idle timeout: no traffic for 300ms"),
    ("both fall silent", "idle timeout: no traffic for 300ms"),
    (
        "the target says nothing",
        "read timeout: nothing from the target for 700ms",
    ),
    (
        "the target takes nothing",
        "write timeout: the target took nothing for 300ms",
    ),
    (
        "the client is banned while both talk",
        "banned by the operator",
    ),
    (
        "the client is banned while bytes pour both ways",
        "banned by the operator",
    ),
    ("a stop cuts a talk that has fallen silent", CUT),
    ("a stop cuts while bytes pour both ways", CUT),
    ("the target refuses", "cannot connect"),
    ("the target does not answer", "cannot connect"),
];

const CUT: &str = "cut: PacketPony is stopping";

impl Scenario {
    #[track_caller]
    fn outcome(&self, lane: Lane) -> Outcome {
        let (listener, address) = tcp_listener();
        let launch = lane.launch(&lane.listener(address, self.tcp));
        let launch = launch.control().server("shutdown_timeout: 300ms");
        let mut pony = launch.start();
        let client = connect(pony.address("tcp"));
        let target = accept(&listener);
        let flow = Flow {
            pony: &pony,
            lane,
            client,
            target,
        };
        let (client, target) = (self.play)(flow);
        finished(self.name, &mut pony, client, target)
    }
}

fn refused(lane: Lane) -> Outcome {
    let mut pony = lane.launch(&lane.listener(closed_port(), "")).start();
    let client = seen(&connect(pony.address("tcp")));
    finished("the target refuses", &mut pony, client, Seen::Nothing)
}

fn unanswered(lane: Lane) -> Outcome {
    let (listener, _fillers) = unresponsive("127.0.0.1:0");
    let target = listener.local_addr().unwrap();
    let mut pony = lane
        .launch(&lane.listener(target, "connect_timeout: 200ms"))
        .start();
    let client = seen(&connect(pony.address("tcp")));
    let name = "the target does not answer";
    finished(name, &mut pony, client, Seen::Nothing)
}

/// What is left to see when both ends are over.
#[track_caller]
fn finished(
    scenario: &'static str,
    pony: &mut Pony,
    mut client: Seen,
    mut target: Seen,
) -> Outcome {
    let close = pony.close_event();
    let error = error(&close);
    if error == CUT {
        assert_eq!(pony.wait().code(), Some(0));
    } else {
        wait_until("the gauges to be 0", || {
            pony.active("tcp") == 0 && Proof::of(pony).active() == 0
        });
    }
    let [mut sent, mut received] =
        ["bytes_sent", "bytes_received"].map(|key| close[key].as_u64().unwrap());
    if !has_exact_figures(scenario) {
        // How much came before the end, and what buffers took, is no part of the outcome.
        for (counted, seen) in [(&mut sent, &mut target), (&mut received, &mut client)] {
            let came = seen.take_bytes();
            assert!(came <= *counted, "{scenario}: {came} bytes came: {close}");
            *counted = 0;
        }
    }
    Outcome {
        scenario,
        client,
        target,
        error,
        sent,
        received,
    }
}

impl Seen {
    /// How many bytes came; leaves none.
    fn take_bytes(&mut self) -> u64 {
        match self {
            Self::Eof(bytes) | Self::Reset(bytes) => std::mem::take(bytes),
            Self::Left | Self::Nothing => 0,
        }
    }
}

/// The error, without what differs from run to run.
fn error(close: &Value) -> String {
    let error = close["error"].as_str().unwrap_or_default();
    if error.starts_with("cannot connect") {
        return "cannot connect".to_owned();
    }
    // Which of the two it is depends on what the side had said before.
    let errors = [
        "Connection reset by peer (os error 104)",
        "Broken pipe (os error 32)",
    ];
    errors
        .iter()
        .fold(error.to_owned(), |text, error| text.replace(error, "reset"))
}

fn has_exact_figures(scenario: &str) -> bool {
    !["nothing", "talk", "silent", "both ways"]
        .iter()
        .any(|word| scenario.ends_with(word))
}

/// Reads to the end; what comes is a beginning of the pattern.
#[track_caller]
fn seen(mut stream: &TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    assert!(
        bytes == pattern(bytes.len()),
        "other bytes came than were sent"
    );
    let len = bytes.len() as u64;
    match end {
        Ok(_) => Seen::Eof(len),
        Err(error) => {
            assert!(crate::flow::is_reset(&error), "{error}");
            Seen::Reset(len)
        }
    }
}
