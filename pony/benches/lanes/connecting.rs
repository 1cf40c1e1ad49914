//! A connection, one exchange, and the end, over and over.

use std::{
    io::{self, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    conversation::{Flow, PATIENCE, message, spread},
    place::Ends,
    poll::Poll,
    work::Outcome,
};

/// A few clients at once; the client closes first.
pub(crate) fn connect(ends: Ends, time: Duration) -> io::Result<Outcome> {
    spread(CLIENTS, time, |clients, end| {
        come_and_go(ends, clients, end)
    })
}

/// One thread's part of the clients; returns how many connections there were.
fn come_and_go(ends: Ends, clients: usize, deadline: Instant) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    let mut flows = Vec::new();
    for number in 0..clients {
        flows.push(begin(ends, &poll, number)?);
    }
    let mut total = 0;
    let mut waiting = clients;
    while waiting > 0 {
        let is_over = Instant::now() >= deadline;
        for at in 0..poll.wait(PATIENCE)? {
            let number = poll.ready(at);
            let is_answered = match &mut flows[number] {
                Some(flow) => flow.is_answered()?,
                None => false,
            };
            if !is_answered {
                continue;
            }
            total += 1;
            // The old one is closed before the new one is there.
            flows[number] = None;
            if is_over {
                waiting -= 1;
            } else {
                flows[number] = begin(ends, &poll, number)?;
            }
        }
    }
    Ok(total)
}

/// Connects and asks. The kernel alone accepts connections that fit a listener's queue, so this
/// does not wait for the proxy.
fn begin(ends: Ends, poll: &Poll, number: usize) -> io::Result<Option<Flow>> {
    let mut stream = TcpStream::connect(ends.echo)?;
    ends.setting.greet(&mut stream)?;
    stream.write_all(&message(0))?;
    poll.add(&stream, number)?;
    Ok(Some(Flow::new(stream)))
}

const CLIENTS: usize = 16;
