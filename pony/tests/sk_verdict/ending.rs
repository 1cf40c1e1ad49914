//! How streams end in the lane.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::Shutdown,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::Duration,
};

use pony::{
    kernel::lanes::Side,
    sys::tcp::{Stage, unread},
};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
};
use socket2::SockRef;

use crate::{
    assert_no_slips,
    flow::{Flow, UNLIMITED, exchange, noise, until},
    lanes,
};

#[test]
fn an_end_is_the_daemons_to_pass_on_and_the_answer_comes_after_it() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    let joined = flow.join(&lanes, UNLIMITED);
    let (there, back) = (joined.from(Side::Client), joined.from(Side::Target));
    let question = noise(3 << 20);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&flow.client).write_all(&question).unwrap();
            flow.client.shutdown(Shutdown::Write).unwrap();
        });
        // A target that is slow: the end must not come before the rest.
        until("the lane is full, and the rest comes to the daemon", || {
            unread(flow.near.as_fd()).unwrap() > 0
        });
        let reader = scope.spawn(|| {
            let mut read = Vec::new();
            (&flow.target).read_to_end(&mut read).unwrap();
            read
        });
        until("all is in the socket, and the end is seen", || {
            flow.relay_all(there);
            there.is_over().unwrap()
        });
        flow.far.shutdown(Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() == question);
    });
    exchange(&flow.target, &flow.client, b"the answer");
    flow.target.shutdown(Shutdown::Write).unwrap();
    until("the target's end is seen", || {
        back.stage().unwrap() == Stage::Closed
    });
    assert!(back.is_accounted().unwrap());
    assert_no_slips(&lanes);
}

#[test]
fn what_was_left_to_the_daemon_outlives_the_connection() {
    let Some(lanes) = lanes(1) else { return };
    let flow = Flow::new();
    let joined = flow.join(&lanes, UNLIMITED);
    let back = joined.from(Side::Target);
    flow.client.shutdown(Shutdown::Write).unwrap();
    until("the end is seen", || {
        joined.from(Side::Client).stage().unwrap() == Stage::ShutByPeer
    });
    flow.far.shutdown(Shutdown::Write).unwrap();
    back.withhold();
    (&flow.target).write_all(b"last words").unwrap();
    drop(flow.target.shutdown(Shutdown::Write));
    until("the target's end is seen", || {
        back.stage().unwrap() == Stage::Closed
    });
    assert_eq!(back.progress().passed, 10);
    let mut read = [0; 20];
    assert_eq!((&flow.far).read(&mut read).unwrap(), 10);
    assert_eq!(&read[..10], b"last words");
    assert_eq!((&flow.far).read(&mut read).unwrap(), 0);
}

#[test]
fn a_reset_is_seen_at_the_socket() {
    let Some(lanes) = lanes(1) else { return };
    let Flow {
        client,
        near,
        far,
        target,
    } = Flow::new();
    let sockets = [near.as_fd(), far.as_fd()];
    let joined = lanes.join(sockets, [UNLIMITED; 2]).unwrap();
    exchange(&client, &target, b"hello");
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    until("the connection is closed", || {
        joined.from(Side::Client).stage().unwrap() == Stage::Closed
    });
    let error = near.take_error().unwrap().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // There is nobody to hand this to, and nobody suffers.
    (&target).write_all(b"hello?").unwrap();
    drop(joined);
    let room = lanes.room();
    assert_eq!(room, 1);
}

/// Whoever waits for a socket in the lane to be writable or shut sleeps while bytes are handed over,
/// and is woken by an end or a reset.
#[test]
fn only_an_end_wakes_who_waits_to_write() {
    let Some(lanes) = lanes(1) else { return };
    for (end, expected) in [
        ("fin", EventFlags::RDHUP),
        ("reset", EventFlags::ERR | EventFlags::HUP),
    ] {
        let Flow {
            client,
            near,
            far,
            target,
        } = Flow::new();
        let sockets = [near.as_fd(), far.as_fd()];
        let _joined = lanes.join(sockets, [UNLIMITED; 2]).unwrap();
        let epoll = epoll::create(CreateFlags::empty()).unwrap();
        let interest = EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&epoll, &near, EventData::new_u64(0), interest).unwrap();
        assert_eq!(events(&epoll, 1_000), EventFlags::OUT);
        for _ in 0..100 {
            exchange(&client, &target, b"question");
            exchange(&target, &client, b"answer");
        }
        assert_eq!(events(&epoll, 20), EventFlags::empty());
        if end == "fin" {
            client.shutdown(Shutdown::Write).unwrap();
        } else {
            let linger = Some(Duration::ZERO);
            SockRef::from(&client).set_linger(linger).unwrap();
            drop(client);
        }
        assert!(events(&epoll, 5_000).contains(expected), "{end}");
    }
}

/// What happens within so many milliseconds.
fn events(epoll: &OwnedFd, patience: i64) -> EventFlags {
    let mut events = Vec::with_capacity(1);
    let patience = Timespec {
        tv_sec: patience / 1_000,
        tv_nsec: patience % 1_000 * 1_000_000,
    };
    epoll::wait(epoll, spare_capacity(&mut events), Some(&patience)).unwrap();
    events
        .first()
        .map_or(EventFlags::empty(), |event: &Event| event.flags)
}
