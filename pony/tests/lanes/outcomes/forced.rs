//! Ends that neither peer has made: a ban, and a stop whose patience is over, while bytes flow.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::{self, JoinHandle},
};

use super::{Flow, Scenario, Seen, seen};
use crate::{
    dice::seed,
    harness::{peers::join, wait_eq, wait_until},
    peer::{Cargo, pass},
    proof::Proof,
    world,
};

pub(super) const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "the client is banned while both talk",
        tcp: "",
        play: |flow| {
            let ends = talking(&flow);
            ban(&flow);
            ends.map(join).into()
        },
    },
    Scenario {
        name: "the client is banned while bytes pour both ways",
        tcp: "",
        play: |flow| {
            let ends = pouring(&flow);
            ban(&flow);
            ends.map(join).into()
        },
    },
    Scenario {
        name: "a stop cuts a talk that has fallen silent",
        tcp: "",
        play: |flow| {
            wait_until("the talk to be in its lane", || {
                pass(&flow.client, &flow.target, b"question");
                pass(&flow.target, &flow.client, b"answer");
                is_in_lane(&flow, of_talks())
            });
            flow.pony.signal("TERM");
            (seen(&flow.client), seen(&flow.target))
        },
    },
    Scenario {
        name: "a stop cuts while bytes pour both ways",
        tcp: "",
        play: |flow| {
            let ends = pouring(&flow);
            flow.pony.signal("TERM");
            ends.map(join).into()
        },
    },
];

/// Both ends say something whenever they hear something, until that ends.
fn talking(flow: &Flow) -> [JoinHandle<Seen>; 2] {
    (&flow.client).write_all(&[7; 100]).unwrap();
    let ends = both(flow, |stream, _| answer(stream));
    wait_until("the talk to be in its lane", || {
        is_in_lane(flow, of_talks())
    });
    ends
}

/// Both ends send and receive as fast as they can, until that ends.
fn pouring(flow: &Flow) -> [JoinHandle<Seen>; 2] {
    let cargo = Cargo {
        seed: seed(),
        up: 1 << 40,
        down: 1 << 40,
    };
    let ends = both(flow, move |stream, is_client| {
        let received = cargo.exchange(stream, is_client);
        match received.error {
            Some(_) => Seen::Reset(received.bytes),
            None => Seen::Eof(received.bytes),
        }
    });
    wait_until("the bytes to be in their lane", || {
        is_in_lane(flow, "splice")
    });
    ends
}

/// Has the client and the target do something, each on a thread.
fn both(
    flow: &Flow,
    act: impl Fn(&TcpStream, bool) -> Seen + Clone + Send + 'static,
) -> [JoinHandle<Seen>; 2] {
    [(&flow.client, true), (&flow.target, false)].map(|(stream, is_client)| {
        let (stream, act) = (stream.try_clone().unwrap(), act.clone());
        thread::spawn(move || act(&stream, is_client))
    })
}

/// Sends back what comes.
fn answer(mut stream: &TcpStream) -> Seen {
    let mut received = 0;
    let mut buffer = [0; 1000];
    loop {
        let said = stream.read(&mut buffer).and_then(|len| {
            received += len as u64;
            stream.write_all(&buffer[..len]).map(|()| len)
        });
        match said {
            Ok(0) => return Seen::Eof(received),
            Ok(_) => {}
            Err(error) => {
                assert!(crate::flow::is_reset(&error), "{error}");
                return Seen::Reset(received);
            }
        }
    }
}

fn ban(flow: &Flow) {
    let answer = flow.pony.ask(&["ban", "127.0.0.1"]);
    answer.expect(0, &["one connection"]);
    wait_eq(1, || flow.pony.drops("tcp", "banned"));
}

/// Whether the lane of the test has moved bytes; of `auto`, the one that suits them.
fn is_in_lane(flow: &Flow, suitable: &str) -> bool {
    Proof::of(flow.pony).has_used(flow.lane, suitable)
}

fn of_talks() -> &'static str {
    // The kernel's lane takes root.
    if world::is_private() {
        "sockmap"
    } else {
        "copy"
    }
}
