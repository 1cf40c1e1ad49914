//! 64 bytes there and back, over and over.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{place::Ends, poll::Poll, work::Outcome, workers};

/// What goes there and back.
pub(crate) type Message = [u8; 64];

/// One flow, one exchange after the other: how long they take.
pub(crate) fn one(ends: Ends, time: Duration) -> io::Result<Outcome> {
    let mut stream = open(ends)?;
    let mut latencies = Vec::with_capacity(1 << 17);
    let start = Instant::now();
    let mut last = start;
    while last - start < time {
        exchange(&mut stream, latencies.len() as u64)?;
        let now = Instant::now();
        latencies.push(now - last);
        last = now;
    }
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    Ok(Outcome {
        figures: vec![at(50), at(99)],
        amount: count(latencies.len()),
    })
}

/// Many flows, each with one exchange after the other: how many that makes.
pub(crate) fn many(ends: Ends, time: Duration) -> io::Result<Outcome> {
    spread(FLOWS, time, |flows, end| converse(ends, flows, end))
}

/// Spreads so many flows over the threads, each of which runs its part until the time is over and
/// answers how much it has done.
pub(crate) fn spread(
    flows: usize,
    time: Duration,
    run: impl Fn(usize, Instant) -> io::Result<usize> + Sync,
) -> io::Result<Outcome> {
    let start = Instant::now();
    let parts = in_threads(workers(), flows, |part| run(part, start + time))?;
    let total = parts.into_iter().sum();
    Ok(Outcome {
        figures: vec![count(total) / start.elapsed().as_secs_f64()],
        amount: count(total),
    })
}

/// Spreads flows over so many threads, and answers what came of each thread's part.
pub(crate) fn in_threads<T: Send>(
    threads: usize,
    flows: usize,
    run: impl Fn(usize) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|worker| {
                let part = (worker..flows).step_by(threads).count();
                let run = &run;
                scope.spawn(move || run(part))
            })
            .collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.collect()
    })
}

/// Flows that have had one exchange each and are quiet then.
pub(crate) fn hold(ends: Ends, flows: usize) -> io::Result<Vec<TcpStream>> {
    (0..flows as u64)
        .map(|flow| {
            let mut stream = open(ends)?;
            exchange(&mut stream, flow)?;
            Ok(stream)
        })
        .collect()
}

/// Whether anybody answers.
pub(crate) fn exchange_once(ends: Ends) -> io::Result<()> {
    exchange(&mut open(ends)?, 0)
}

pub(crate) fn message(number: u64) -> Message {
    let mut bytes = [b'.'; 64];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

pub(crate) fn expect(answer: &Message, number: u64) -> io::Result<()> {
    if *answer == message(number) {
        Ok(())
    } else {
        Err(io::Error::other("another answer than the question"))
    }
}

fn open(ends: Ends) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&ends.echo, PATIENCE)?;
    ends.setting.greet(&mut stream)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream, number: u64) -> io::Result<()> {
    stream.write_all(&message(number))?;
    let mut answer = [0; 64];
    stream.read_exact(&mut answer)?;
    expect(&answer, number)
}

/// One thread's part of many flows; returns how many exchanges there were.
fn converse(ends: Ends, flows: usize, deadline: Instant) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    let mut open_flows = Vec::new();
    for number in 0..flows {
        let mut stream = open(ends)?;
        poll.add(&stream, number)?;
        stream.write_all(&message(0))?;
        open_flows.push(Flow::new(stream));
    }
    let mut total = 0;
    let mut waiting = flows;
    while waiting > 0 {
        let is_over = Instant::now() >= deadline;
        for at in 0..poll.wait(PATIENCE)? {
            let number = poll.ready(at);
            let flow = &mut open_flows[number];
            if !flow.is_answered()? {
                continue;
            }
            total += 1;
            if is_over {
                waiting -= 1;
            } else {
                flow.stream.write_all(&message(flow.exchanges))?;
            }
        }
    }
    Ok(total)
}

/// A connection that waits for an answer.
pub(crate) struct Flow {
    stream: TcpStream,
    answer: Message,
    have: usize,
    exchanges: u64,
}

impl Flow {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            answer: [0; 64],
            have: 0,
            exchanges: 0,
        }
    }

    /// Reads what there is: call it only when there is something.
    pub(crate) fn is_answered(&mut self) -> io::Result<bool> {
        let count = self.stream.read(&mut self.answer[self.have..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.have += count;
        if self.have < self.answer.len() {
            return Ok(false);
        }
        expect(&self.answer, self.exchanges)?;
        self.have = 0;
        self.exchanges += 1;
        Ok(true)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no run reaches 2^52 of anything"
)]
pub(crate) const fn count(number: usize) -> f64 {
    number as f64
}

const FLOWS: usize = 50;
/// An answer that takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
