//! Datagrams there and back, over many flows at once.

use std::{
    io::{self, ErrorKind},
    net::UdpSocket,
    time::{Duration, Instant},
};

use crate::{
    conversation::{PATIENCE, message, spread},
    place::Ends,
    poll::Poll,
    work::Outcome,
};

/// Each answer is followed by the next question. There are never more on their way than fit the
/// queue of any socket, so none is lost.
pub(crate) fn exchange(ends: Ends, time: Duration) -> io::Result<Outcome> {
    spread(FLOWS, time, |flows, end| converse(ends, flows, end))
}

/// One thread's part of the flows; returns how many answers there were.
fn converse(ends: Ends, flows: usize, deadline: Instant) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for number in 0..flows {
        let socket = UdpSocket::bind((ends.echo.ip(), 0))?;
        socket.connect(ends.echo)?;
        socket.set_nonblocking(true)?;
        poll.add(&socket, number)?;
        for _ in 0..WINDOW {
            socket.send(&message(number as u64))?;
        }
        sockets.push(socket);
    }
    let mut total = 0;
    let mut waiting = flows * WINDOW;
    while waiting > 0 {
        let is_over = Instant::now() >= deadline;
        for at in 0..poll.wait(PATIENCE)? {
            let number = poll.ready(at);
            if !is_answered(&sockets[number], number as u64)? {
                continue;
            }
            total += 1;
            if is_over {
                waiting -= 1;
            } else {
                sockets[number].send(&message(number as u64))?;
            }
        }
    }
    Ok(total)
}

/// Each flow has a message of its own.
fn is_answered(socket: &UdpSocket, number: u64) -> io::Result<bool> {
    let mut answer = message(!number);
    match socket.recv(&mut answer) {
        Ok(len) if answer[..len] == message(number) => Ok(true),
        Ok(_) => Err(io::Error::other("another answer than the question")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

const FLOWS: usize = 50;
/// Questions of a flow that wait for an answer.
const WINDOW: usize = 2;
