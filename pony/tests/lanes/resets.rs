//! Clients that are gone before anything is ready for them.

use std::{
    io::{Read as _, Write as _},
    sync::mpsc,
    time::Duration,
};

use crate::{
    bytes::Content,
    dice::{Dice, index, seed},
    harness::{
        peers::{connect, echo_target, ping, reset, tcp_target},
        wait_for, wait_until,
    },
    lane::Lane,
    leftovers::Leftovers,
};

in_every_lane!(
    shared: clients_that_reset_at_once_leave_nothing_behind,
    a_client_that_resets_while_its_target_is_dialled_is_no_ordinary_end_for_the_target,
);

fn clients_that_reset_at_once_leave_nothing_behind(lane: Lane) {
    let pony = lane.launch(&lane.listener(echo_target(), "")).start();
    let address = pony.address("tcp");
    ping(&mut connect(address), b"the descriptors of the first flow");
    wait_until("the first flow to end", || pony.active("tcp") == 0);
    let before = Leftovers::before(&pony, lane);

    let seed = seed();
    let mut dice = Dice::new(seed);
    for number in 0..CLIENTS {
        let mut client = connect(address);
        let content = Content::new(seed, number);
        client
            .write_all(content.at(0, index(dice.below(20_000))))
            .unwrap();
        if dice.once_in(3) {
            // So some come to their target.
            std::thread::yield_now();
        }
        reset(client);
    }
    before.check(&pony, &["tcp".to_owned()]);
    ping(&mut connect(address), b"served as before");
}

fn a_client_that_resets_while_its_target_is_dialled_is_no_ordinary_end_for_the_target(lane: Lane) {
    let (ends, all) = mpsc::channel();
    let target = tcp_target(move |mut stream| {
        let end = stream.read_to_end(&mut Vec::new());
        ends.send(end.is_err()).unwrap();
    });
    let pony = lane.launch(&lane.listener(target, "")).start();
    for _ in 0..CLIENTS {
        let mut client = connect(pony.address("tcp"));
        client.write_all(b"request").unwrap();
        reset(client);
    }
    let closed = wait_for("every close event", || {
        let closed = pony.events("close");
        (closed.len() as u64 == CLIENTS).then_some(closed)
    });
    assert!(closed.iter().all(|event| event["error"].is_string()));
    // Some never came to the target; each that did must not have seen an ordinary end.
    drop(pony);
    while let Ok(was_reset) = all.recv_timeout(SOON) {
        assert!(was_reset, "a target saw an ordinary end");
    }
}

const CLIENTS: u64 = 500;
/// When no target has seen an end for so long, all have.
const SOON: Duration = Duration::from_millis(500);
