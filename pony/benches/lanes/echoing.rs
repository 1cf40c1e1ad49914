//! As many bytes as possible to the target and back again, over many flows at once.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use rustix::event::epoll::EventFlags;

use crate::{
    bulk::{connect, wrong},
    conversation::{PATIENCE, count, in_threads},
    cores,
    pattern::{CHUNK, chunk, is_at},
    place::Ends,
    poll::Poll,
    work::Outcome,
    workers,
};

/// From half of the cores, as other bulk: the rest is left to target and proxy.
pub(crate) fn echo(ends: Ends, time: Duration) -> io::Result<Outcome> {
    echo_from(workers(), ends, time)
}

/// From all cores: whatever the proxy uses, clients and target lack.
pub(crate) fn echo_from_all(ends: Ends, time: Duration) -> io::Result<Outcome> {
    echo_from(cores(), ends, time)
}

/// Each flow writes and reads whenever it can. What is written and read while the first bytes
/// fill all queues on the way does not count.
fn echo_from(threads: usize, ends: Ends, time: Duration) -> io::Result<Outcome> {
    let begin = Instant::now() + time / 4;
    let window = [begin, begin + time];
    let parts = in_threads(threads, FLOWS, |flows| there_and_back(ends, flows, window))?;
    let sum = |part: fn(&Moved) -> u64| parts.iter().map(part).sum::<u64>();
    let [up, down] = [sum(|part| part.sent), sum(|part| part.received)].map(|bytes| {
        #[expect(clippy::cast_precision_loss, reason = "no run reaches 2^52 bytes")]
        let bits = bytes as f64 * 8.0;
        bits / 1e9 / time.as_secs_f64()
    });
    Ok(Outcome {
        figures: vec![up + down, up, down],
        amount: count(usize::try_from(sum(|part| part.echoed)).map_err(io::Error::other)?) / 1e9,
    })
}

/// Bytes.
#[derive(Default)]
struct Moved {
    /// While it counts.
    sent: u64,
    received: u64,
    /// From the first to the last.
    echoed: u64,
}

struct Flow {
    stream: TcpStream,
    sent: u64,
    received: u64,
    /// It writes no more until something has come back.
    pauses: bool,
    is_over: bool,
}

/// One thread's part of the flows.
fn there_and_back(ends: Ends, flows: usize, window: [Instant; 2]) -> io::Result<Moved> {
    let mut poll = Poll::new()?;
    let mut open = Vec::with_capacity(flows);
    for number in 0..flows {
        let flow = Flow::open(ends)?;
        poll.add_for(&flow.stream, number, EventFlags::IN | EventFlags::OUT)?;
        open.push(flow);
    }
    let mut moved = Moved::default();
    let mut buffer = vec![0; CHUNK];
    let mut waiting = flows;
    while waiting > 0 {
        let now = Instant::now();
        let counts = u64::from(window[0] <= now && now < window[1]);
        for at in 0..poll.wait(PATIENCE)? {
            let (number, flags) = (poll.ready(at), poll.flags(at));
            let flow = &mut open[number];
            if flags.contains(EventFlags::OUT) && now >= window[1] {
                flow.stream.shutdown(Shutdown::Write)?;
                poll.change(&flow.stream, number, EventFlags::IN)?;
            } else if flags.contains(EventFlags::OUT) {
                moved.sent += flow.write()? * counts;
                if flow.is_full() {
                    poll.change(&flow.stream, number, EventFlags::IN)?;
                    flow.pauses = true;
                }
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                moved.received += flow.read(&mut buffer)? * counts;
                if flow.pauses && !flow.is_full() {
                    poll.change(&flow.stream, number, EventFlags::IN | EventFlags::OUT)?;
                    flow.pauses = false;
                }
            }
            if flow.is_over {
                poll.remove(&flow.stream)?;
                moved.echoed += flow.received;
                waiting -= 1;
            }
        }
    }
    Ok(moved)
}

impl Flow {
    fn open(ends: Ends) -> io::Result<Self> {
        let stream = connect(ends, ends.mirror)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            sent: 0,
            received: 0,
            pauses: false,
            is_over: false,
        })
    }

    /// What there is room for, of the rest of a chunk.
    fn write(&mut self) -> io::Result<u64> {
        let at = usize::try_from(self.sent % CHUNK as u64).expect("less than a chunk");
        let written = or_nothing(self.stream.write(&chunk()[at..]))?.unwrap_or(0) as u64;
        self.sent += written;
        Ok(written)
    }

    const fn is_full(&self) -> bool {
        self.sent - self.received >= MOST_UNDER_WAY
    }

    /// What there is, up to a chunk.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<u64> {
        let Some(len) = or_nothing(self.stream.read(buffer))? else {
            return Ok(0);
        };
        if !is_at(self.received, &buffer[..len]) {
            return Err(wrong());
        }
        self.received += len as u64;
        if len == 0 {
            if self.received != self.sent {
                let text = format!("{} of {} bytes came back", self.received, self.sent);
                return Err(io::Error::other(text));
            }
            self.is_over = true;
        }
        Ok(len as u64)
    }
}

/// `None` if it would have to wait.
fn or_nothing(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

const FLOWS: usize = 50;
/// Bytes of a flow that have not come back. Without a bound queues grow to tens of megabytes, and where
/// a target that reads no more before it is rid of its answers meets a full queue, TCP can stand still
/// for good: Linux 6.18 takes no window from a segment that does not fit its own.
const MOST_UNDER_WAY: u64 = 1 << 20;
