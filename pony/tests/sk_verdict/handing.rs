//! What is handed over and what is left to the daemon.

use std::{
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use pony::{
    kernel::lanes::{Call, Joined, Lanes, Side, Terms},
    sys::tcp::unread,
};
use socket2::SockRef;

use crate::{
    assert_no_slips,
    flow::{Flow, UNLIMITED, exchange, noise, until},
    lanes,
};

#[test]
fn bytes_go_both_ways_without_the_daemon_on_ipv4_and_ipv6() {
    let Some(lanes) = lanes(4) else { return };
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let flow = Flow::on(addr);
        let joined = flow.join(&lanes, UNLIMITED);
        exchange(&flow.client, &flow.target, &noise(100_000));
        exchange(&flow.target, &flow.client, b"hello");
        exchange(&flow.client, &flow.target, b"!");
        let (there, back) = (joined.from(Side::Client), joined.from(Side::Target));
        assert_eq!(
            (there.progress().redirected, there.progress().passed),
            (100_001, 0)
        );
        assert_eq!((back.progress().redirected, back.progress().passed), (5, 0));
        assert!(there.progress().is_redirecting);
        until("all is in the socket", || there.is_drained().unwrap());
        assert!(there.is_accounted().unwrap() && back.is_accounted().unwrap());
    }
    assert_no_slips(&lanes);
}

#[test]
fn what_came_before_goes_first() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    let early = noise(50_000);
    (&flow.client).write_all(&early).unwrap();
    until("they are in the socket", || {
        unread(flow.near.as_fd()).unwrap() == early.len() as u64
    });
    let _joined = flow.join(&lanes, UNLIMITED);
    let mut read = vec![0; early.len()];
    (&flow.target).read_exact(&mut read).unwrap();
    assert!(read == early);
    exchange(&flow.client, &flow.target, b"late");
}

#[test]
fn credit_is_exact_and_a_piece_is_never_split() {
    let Some(mut lanes) = lanes(1) else { return };
    let mut calls = lanes.take_calls().unwrap();
    let flow = Flow::new();
    let terms = Terms {
        credit: 1_000,
        ..UNLIMITED
    };
    let joined = flow.join(&lanes, terms);
    let there = joined.from(Side::Client);
    exchange(&flow.client, &flow.target, &noise(999));
    exchange(&flow.client, &flow.target, b"!");
    assert_eq!(calls.take(), None);

    // One piece of many segments.
    (&flow.client).write_all(&noise(30_000)).unwrap();
    until("it is left to the daemon", || {
        there.progress().passed == 30_000
    });
    let progress = there.progress();
    assert_eq!((progress.redirected, progress.out_of_credit), (1_000, 1));
    assert!(!progress.is_redirecting);
    let call = Call {
        slot: joined.slot(),
        side: Side::Client,
    };
    assert_eq!(calls.take(), Some(call));

    // It goes on where it ended, and another call comes.
    there.set_credit(31_000);
    assert_eq!(flow.relay_all(there), 30_000);
    let mut read = vec![0; 30_000];
    (&flow.target).read_exact(&mut read).unwrap();
    assert!(read == noise(30_000));
    exchange(&flow.client, &flow.target, &noise(30_000));
    (&flow.client).write_all(b"x").unwrap();
    until("the credit is used up again", || {
        there.progress().passed == 30_001
    });
    assert_eq!((calls.take(), calls.take()), (Some(call), None));
}

#[test]
fn calls_at_the_mark_and_only_then() {
    let Some(mut lanes) = lanes(1) else { return };
    let mut calls = lanes.take_calls().unwrap();
    let flow = Flow::new();
    let terms = Terms {
        call_at: 10,
        ..UNLIMITED
    };
    let joined = flow.join(&lanes, terms);
    exchange(&flow.client, &flow.target, b"123456789");
    assert_eq!(calls.take(), None);
    exchange(&flow.client, &flow.target, b"0123");
    assert!(calls.take().is_some_and(|call| call.side == Side::Client));
    exchange(&flow.client, &flow.target, &noise(1_000));
    assert_eq!(calls.take(), None);
    joined.from(Side::Client).set_call_at(2_000);
    exchange(&flow.client, &flow.target, &noise(1_000));
    assert!(calls.take().is_some());
    exchange(&flow.target, &flow.client, b"0123456789");
    assert!(calls.take().is_some_and(|call| call.side == Side::Target));
}

#[test]
fn a_peer_that_does_not_read_costs_no_more_than_the_budget() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    let budget = 1 << 20;
    let joined = flow.join(
        &lanes,
        Terms {
            budget,
            ..UNLIMITED
        },
    );
    let bytes = noise(64 << 20);
    thread::scope(|scope| {
        scope.spawn(|| (&flow.client).write_all(&bytes).unwrap());
        let there = joined.from(Side::Client);
        until("the budget is used up", || there.progress().passed > 0);
        thread::sleep(Duration::from_millis(200));
        let stalled = there.progress();
        assert_eq!(stalled.over_budget, 1);
        assert!(there.on_its_way().unwrap() <= budget);
        // What the peer's own buffer took was acknowledged.
        assert!(stalled.redirected < (8 << 20) + budget, "{stalled:?}");
        thread::sleep(Duration::from_millis(200));
        let later = there.progress();
        assert_eq!(later.redirected, stalled.redirected);
        assert!(later.passed < stalled.passed + (1 << 20), "{later:?}");

        scope.spawn(|| drain(&flow, &joined));
        let mut read = vec![0; bytes.len()];
        (&flow.target).read_exact(&mut read).unwrap();
        assert!(read == bytes);
    });
    let progress = joined.from(Side::Client).progress();
    assert_eq!(progress.passed + progress.redirected, bytes.len() as u64);
    assert_no_slips(&lanes);
}

#[test]
fn a_peer_that_does_not_read_can_still_send() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    SockRef::from(&flow.near)
        .set_send_buffer_size(32 << 10)
        .unwrap();
    let none = Terms {
        credit: 0,
        ..UNLIMITED
    };
    let joined = lanes.join(flow.sockets(), [none, UNLIMITED]).unwrap();
    let back = joined.from(Side::Target);
    flow.target.set_nonblocking(true).unwrap();
    until("the client's buffers are full", || {
        drop((&flow.target).write(&noise(1 << 20)));
        back.progress().over_budget > 0
    });
    (&flow.client).write_all(b"hello").unwrap();
    let mut read = [0; 5];
    until("it comes", || (&flow.near).read(&mut read).is_ok());
    assert_eq!(&read, b"hello");
    assert!(back.is_drained().unwrap(), "nothing waits at the socket");
}

/// Relays what is left to the daemon until everything has come.
fn drain(flow: &Flow, joined: &Joined<'_>) {
    let there = joined.from(Side::Client);
    until("all is moved", || {
        flow.relay_all(there);
        let progress = there.progress();
        progress.passed + progress.redirected == 64 << 20
    });
    flow.relay_all(there);
}

#[test]
fn order_is_kept_through_many_changes_of_who_moves() {
    let Some(lanes) = lanes(2) else { return };
    let flow = Flow::new();
    let joined = flow.join(
        &lanes,
        Terms {
            credit: 0,
            ..UNLIMITED
        },
    );
    let bytes = noise(32 << 20);
    let there = joined.from(Side::Client);
    thread::scope(|scope| {
        scope.spawn(|| {
            // A sender without pauses would not be caught up with.
            for bytes in bytes.chunks(150_000) {
                (&flow.client).write_all(bytes).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            let mut read = vec![0; bytes.len()];
            (&flow.target).read_exact(&mut read).unwrap();
            assert!(read == bytes);
        });
        until("all is moved", || {
            let relayed = flow.relay_all(there);
            let progress = there.progress();
            if relayed > 0 {
                there.set_credit(progress.redirected + 300_000);
            }
            relayed == 0 && progress.passed + progress.redirected == bytes.len() as u64
        });
    });
    let progress = there.progress();
    assert!(progress.out_of_credit > 10, "{progress:?}");
    assert!(progress.redirected > 1 << 20, "{progress:?}");
}

/// Moves some bytes both ways.
pub(crate) fn is_moving(lanes: &Lanes) {
    let flow = Flow::new();
    let _joined = flow.join(lanes, UNLIMITED);
    exchange(&flow.client, &flow.target, &noise(10_000));
    exchange(&flow.target, &flow.client, &noise(10_000));
}
