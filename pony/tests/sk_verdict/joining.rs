//! How flows get into the lane and out of it.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Instant,
};

use pony::kernel::lanes::{JoinError, Joined, Left, Side};

use crate::{
    assert_no_slips,
    flow::{Flow, UNLIMITED, exchange, noise, until, until_at_once},
    handing::is_moving,
    lanes,
};

#[test]
fn takes_as_many_flows_as_there_is_room_for_and_gives_their_places_again() {
    let Some(lanes) = lanes(2) else { return };
    let flows = [Flow::new(), Flow::new(), Flow::new()];
    let first = flows[0].join(&lanes, UNLIMITED);
    let second = flows[1].join(&lanes, UNLIMITED);
    let third = lanes.join(flows[2].sockets(), [UNLIMITED; 2]);
    assert!(matches!(third, Err(JoinError::Full)));
    drop(first);
    assert_eq!(lanes.room(), 1);
    let third = flows[2].join(&lanes, UNLIMITED);
    for flow in &flows[1..] {
        exchange(&flow.client, &flow.target, &noise(10_000));
    }
    drop((second, third));
    for _ in 0..10 {
        is_moving(&lanes);
    }
    assert_eq!(lanes.room(), 2);
    assert_no_slips(&lanes);
}

#[test]
fn takes_only_open_tcp_connections() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    flow.target.shutdown(Shutdown::Write).unwrap();
    until("the end has come", || {
        flow.far.peek(&mut [0]).is_ok_and(|len| len == 0)
    });
    let result = lanes.join(flow.sockets(), [UNLIMITED; 2]);
    assert!(matches!(result, Err(JoinError::NotOpen)));
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let result = lanes.join([one.as_fd(), one.as_fd()], [UNLIMITED; 2]);
    assert!(matches!(result, Err(JoinError::NotTcp)));
    assert_eq!(lanes.room(), 1);
}

#[test]
fn a_quiet_flow_leaves_and_comes_back() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    for _ in 0..20 {
        let mut joined = flow.join(&lanes, UNLIMITED);
        exchange(&flow.client, &flow.target, &noise(10_000));
        exchange(&flow.target, &flow.client, &noise(10_000));
        until("it is out", || joined.leave() == Left::Out);
        drop(joined);
        assert_eq!(lanes.room(), 1);
        exchange(&flow.client, &flow.near, &noise(10_000));
        exchange(&flow.far, &flow.target, &noise(10_000));
    }
    assert_no_slips(&lanes);
}

/// With nothing left to the daemon that it has not read, one walk is enough.
#[test]
fn flows_leave_together_by_one_walk() {
    let Some(lanes) = lanes(50) else { return };
    let flows: Vec<_> = (0..50).map(|_| Flow::new()).collect();
    let mut joined: Vec<_> = flows
        .iter()
        .map(|flow| flow.join(&lanes, UNLIMITED))
        .collect();
    let start = Instant::now();
    until("all are out", || {
        let left = joined.iter_mut().map(Joined::leave);
        left.filter(|left| *left == Left::NotYet).count() == 0
    });
    println!("50 flows left in {:?}", start.elapsed());
    drop(joined);
    assert_no_slips(&lanes);
}

/// The sender is never waited for, and what was left to the daemon goes with the socket.
#[test]
fn a_flow_leaves_while_its_client_sends_without_a_pause() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    let is_over = AtomicBool::new(false);
    let piece = noise(1_000_003);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                (&flow.client).write_all(&piece).unwrap();
            }
            flow.client.shutdown(Shutdown::Write).unwrap();
        });
        let reader = scope.spawn(|| {
            let mut read = vec![0; piece.len()];
            while (&flow.target).read_exact(&mut read).is_ok() {
                assert!(read == piece);
            }
        });
        for _ in 0..20 {
            let mut joined = flow.join(&lanes, UNLIMITED);
            until_at_once("it is moving", || {
                let there = joined.from(Side::Client);
                flow.relay_some(there);
                there.progress().redirected > 100_000
            });
            let start = Instant::now();
            until_at_once("it is out", || {
                flow.relay_some(joined.from(Side::Client));
                joined.leave() == Left::Out
            });
            println!("left in {:?}", start.elapsed());
            drop(joined);
        }
        is_over.store(true, Relaxed);
        flow.copy(Side::Client);
        flow.far.shutdown(Shutdown::Write).unwrap();
        reader.join().unwrap();
    });
    assert_no_slips(&lanes);
}

#[test]
fn a_kernel_that_works_passes_the_self_test_in_time() {
    let Some(mut lanes) = lanes(1) else { return };
    let start = Instant::now();
    lanes.self_test().unwrap();
    println!("the self-test took {:?}", start.elapsed());
    assert_eq!(lanes.room(), 1);
    // What it has cut on purpose happened to no flow.
    assert_eq!(lanes.slips().unwrap(), [0; 5]);
}
