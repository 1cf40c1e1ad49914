//! How flows get into the lane and out of it.

use std::{net::Shutdown, os::fd::AsFd as _, time::Instant};

use pony::kernel::lanes::{JoinError, Left, Side};

use crate::{
    assert_no_slips,
    flow::{Flow, UNLIMITED, exchange, noise, until},
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
    for round in 0..20 {
        let joined = flow.join(&lanes, UNLIMITED);
        exchange(&flow.client, &flow.target, &noise(10_000));
        exchange(&flow.target, &flow.client, &noise(10_000));
        for side in [Side::Client, Side::Target] {
            until("all is in the socket", || {
                joined.from(side).is_drained().unwrap()
            });
        }
        assert!(matches!(joined.leave(), Left::Out), "round {round}");
        assert_eq!(lanes.room(), 1);
        exchange(&flow.client, &flow.near, &noise(10_000));
        exchange(&flow.far, &flow.target, &noise(10_000));
    }
    assert_no_slips(&lanes);
}

#[test]
fn a_kernel_that_works_passes_the_self_test_in_time() {
    let Some(lanes) = lanes(1) else { return };
    let start = Instant::now();
    lanes.self_test().unwrap();
    println!("the self-test took {:?}", start.elapsed());
    assert_eq!(lanes.room(), 1);
}
