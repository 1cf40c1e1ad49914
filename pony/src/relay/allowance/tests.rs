use std::{future::poll_fn, os::fd::AsFd as _};

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::sys::{buffers::is_limited, tcp::receive_buffer};

const MEBI: u64 = 1 << 20;
const MOST: u64 = 10 * MEBI;

async fn pair() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    [near.unwrap(), far.unwrap().0]
}

fn are_limited(from: &TcpStream, to: &TcpStream) -> [bool; 2] {
    [
        is_limited(from.as_fd(), Queue::Receive).unwrap(),
        is_limited(to.as_fd(), Queue::Send).unwrap(),
    ]
}

#[tokio::test]
async fn a_bulk_flow_that_is_alone_keeps_its_sockets_as_they_are() {
    let [from, to] = pair().await;
    let memory = Memory::with(1 << 30, MOST);
    let mut allowance = Allowance::new(&memory);
    for _ in 0..10_000 {
        allowance.took(64 << 10, &from, &to);
        assert_eq!(allowance.room(1 << 20), 1 << 20);
    }
    allowance.blocked(&from, &to);
    assert_eq!(are_limited(&from, &to), [false, false]);
    assert_eq!(memory.given(), MOST);
    drop(allowance);
    assert_eq!(memory.given(), 0);
}

#[tokio::test]
async fn a_short_flow_asks_for_nothing() {
    let [from, to] = pair().await;
    let memory = Memory::with(16 * MEBI, MOST);
    let mut allowance = Allowance::new(&memory);
    allowance.took(usize::try_from(LIGHT).unwrap() - 1, &from, &to);
    assert_eq!(memory.given(), 0);
    assert_eq!(are_limited(&from, &to), [false, false]);
    allowance.took(1, &from, &to);
    assert!(memory.given() > 0);
    assert_eq!(are_limited(&from, &to), [true, true]);
}

#[tokio::test]
async fn a_limited_flow_is_not_when_there_is_plenty_again() {
    let [from, to] = pair().await;
    let memory = Memory::with(200 * MEBI, MOST);
    let others: Vec<_> = (0..100)
        .map(|_| {
            let mut other = Allowance::new(&memory);
            other.took(1 << 20, &from, &to);
            other
        })
        .collect();
    let [from, to] = pair().await;
    let mut allowance = Allowance::new(&memory);
    allowance.took(64 << 10, &from, &to);
    assert_eq!(are_limited(&from, &to), [true, true]);
    let limit = allowance.held;
    let queue = receive_buffer(from.as_fd()).unwrap() as u64;
    assert!(
        (limit / 4..=limit / 2).contains(&queue),
        "{queue} of {limit}"
    );
    assert!(allowance.room(1 << 20) < 256 << 10);
    drop(others);
    allowance.took(100 << 20, &from, &to);
    assert_eq!(are_limited(&from, &to), [false, false]);
    assert_eq!(allowance.room(1 << 20), 1 << 20);
}

#[tokio::test]
async fn a_flow_is_at_rest_when_nothing_moves_and_its_reader_is_not_behind() {
    let [_far, to] = pair().await;
    let mut has_moved = true;
    assert!(!is_at_rest(&mut has_moved, &to), "it has moved something");
    assert!(is_at_rest(&mut has_moved, &to));
    // More than its peer acknowledges.
    while unacked(to.as_fd()).unwrap() <= LIGHT {
        to.writable().await.unwrap();
        drop(to.try_write(&vec![0; 1 << 16]));
    }
    assert!(!is_at_rest(&mut has_moved, &to), "its reader is behind");
}

#[tokio::test]
async fn a_flow_that_waits_for_long_gives_back_what_it_has() {
    let [from, to] = pair().await;
    let memory = Memory::with(1 << 30, MOST);
    let mut allowance = Allowance::new(&memory);
    allowance.took(1 << 20, &from, &to);
    allowance.has_moved = false;
    allowance.look = Some(Box::pin(sleep(Duration::ZERO)));
    poll_fn(|cx| {
        allowance.poll_rest(cx, &to);
        if memory.given() == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    assert!(allowance.look.is_none());
}
