//! As many bytes as possible, in one direction.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    pattern::{CHUNK, chunk, is_at},
    place::Ends,
    target::WRONG,
    work::Outcome,
};

/// From clients to the target, over one flow.
pub(crate) fn upload_one(ends: Ends, time: Duration) -> io::Result<Outcome> {
    upload(ends, time, 1)
}

/// From clients to the target, over several flows.
pub(crate) fn upload_many(ends: Ends, time: Duration) -> io::Result<Outcome> {
    upload(ends, time, FLOWS)
}

/// The same, over so many that each has its share of little.
pub(crate) fn upload_very_many(ends: Ends, time: Duration) -> io::Result<Outcome> {
    upload(ends, time, FLOWS_VERY_MANY)
}

/// From the target to a client.
pub(crate) fn download(ends: Ends, time: Duration) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut stream = connect(ends, ends.source)?;
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    let mut is_over = false;
    loop {
        let count = stream.read(&mut buffer)?;
        if !is_at(total, &buffer[..count]) {
            return Err(wrong());
        }
        total += count as u64;
        if count == 0 {
            break;
        }
        if !is_over && start.elapsed() >= time {
            is_over = true;
            stream.shutdown(Shutdown::Write)?;
        }
    }
    // The target ends with a whole chunk, and only when it is told to.
    if !is_over || total % CHUNK as u64 != 0 {
        return Err(wrong());
    }
    Ok(outcome(total, start.elapsed()))
}

fn upload(ends: Ends, time: Duration, flows: usize) -> io::Result<Outcome> {
    let start = Instant::now();
    let total = thread::scope(|scope| {
        let flow = || send(ends, start + time);
        let threads: Vec<_> = (0..flows).map(|_| scope.spawn(flow)).collect();
        let sent = threads.into_iter().map(|thread| thread.join().unwrap());
        sent.sum::<io::Result<u64>>()
    })?;
    Ok(outcome(total, start.elapsed()))
}

/// Returns how many bytes have arrived.
fn send(ends: Ends, deadline: Instant) -> io::Result<u64> {
    let mut stream = connect(ends, ends.sink)?;
    let mut sent = 0;
    while Instant::now() < deadline {
        stream.write_all(chunk())?;
        sent += CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    match u64::from_be_bytes(answer) {
        WRONG => Err(wrong()),
        arrived if arrived == sent => Ok(sent),
        arrived => {
            let text = format!("{arrived} of {sent} bytes arrived");
            Err(io::Error::other(text))
        }
    }
}

/// To one of the ends, with what has to be said first.
pub(crate) fn connect(ends: Ends, end: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&end, PATIENCE)?;
    ends.setting.greet(&mut stream)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn wrong() -> io::Error {
    io::Error::other("other bytes than were sent")
}

#[expect(clippy::cast_precision_loss, reason = "no run reaches 2^52 bytes")]
fn outcome(bytes: u64, time: Duration) -> Outcome {
    let bytes = bytes as f64;
    Outcome {
        figures: vec![bytes * 8.0 / 1e9 / time.as_secs_f64()],
        amount: bytes / 1e9,
    }
}

const FLOWS: usize = 8;
const FLOWS_VERY_MANY: usize = 50;
/// A flow that does not move for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);
