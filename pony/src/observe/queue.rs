//! The bounded queue between whoever logs and one sink.
//!
//! Whoever logs never waits: a record that does not fit is counted and forgotten. The sink's
//! worker takes everything that is there at once.
//!
//! What always holds: a record that was pushed is either taken, or counted as lost. Nothing is
//! taken in after the queue was closed.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use super::event::Record;

/// Records on their way to a sink.
pub(super) type Batch = VecDeque<Arc<Record>>;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signals the worker that there is something to do.
    work: Condvar,
    dropped: IntCounter,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    records: Batch,
    /// Lost since the worker was last told.
    lost: u64,
    reopen: bool,
    closed: bool,
    /// The worker sleeps and must be woken.
    waiting: bool,
}

/// What [`Queue::take`] found besides records.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Taken {
    /// Records lost since the last call.
    pub lost: u64,
    /// The sink shall open its file anew first.
    pub reopen: bool,
    /// These were the last records.
    pub closed: bool,
}

impl Queue {
    /// An empty queue for up to `capacity` records; what is lost is added to `dropped`.
    pub(super) fn new(capacity: usize, dropped: IntCounter) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            dropped,
            capacity,
        }
    }

    /// Adds a record, or counts it as lost. Never waits for the worker.
    pub(super) fn push(&self, record: Arc<Record>) {
        let mut state = self.lock();
        if state.closed || state.records.len() >= self.capacity {
            drop(state);
            self.lose(1);
            return;
        }
        state.records.push_back(record);
        if state.records.len() == self.capacity / 2 {
            // No time to rest.
            state.waiting = true;
        }
        self.wake(state);
    }

    /// Counts `count` records as lost.
    pub(super) fn lose(&self, count: u64) {
        self.dropped.inc_by(count);
        let mut state = self.lock();
        state.lost = state.lost.saturating_add(count);
    }

    /// Asks the sink to open its file anew.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.reopen = true;
        state.waiting = true;
        self.wake(state);
    }

    /// Lets the worker end as soon as it has taken what is there.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting = true;
        self.wake(state);
    }

    /// Waits for something to do, at most for `patience`, and moves all records to `batch`.
    pub(super) fn take(&self, batch: &mut Batch, patience: Option<Duration>) -> Taken {
        let idle = |state: &State| state.records.is_empty() && !state.reopen && !state.closed;
        let mut state = self.wait_while(patience, idle);
        batch.append(&mut state.records);
        Taken {
            lost: mem::take(&mut state.lost),
            reopen: mem::take(&mut state.reopen),
            closed: state.closed,
        }
    }

    /// Sleeps for `pause`, whoever logs meanwhile, unless the queue gets half full or is closed: whoever
    /// logs is spared a system call, and the sink gets more at once.
    pub(super) fn rest(&self, pause: Duration) {
        let state = self.lock();
        if state.closed || state.reopen || state.records.len() >= self.capacity / 2 {
            return;
        }
        // Woken early, it has something to do early, and that is all.
        drop(self.work.wait_timeout(state, pause));
    }

    /// Sleeps for `pause`. Returns false at once when the queue is or gets closed.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        !self.wait_while(Some(pause), |state| !state.closed).closed
    }

    /// Waits until `condition` is false, or `patience` is over.
    fn wait_while(
        &self,
        patience: Option<Duration>,
        condition: impl Fn(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let deadline = patience.map(|patience| Instant::now() + patience);
        let mut state = self.lock();
        while condition(&state) {
            state.waiting = true;
            state = match deadline {
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    let waited = self.work.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.waiting = false;
        state
    }

    /// Wakes the worker if it sleeps; a system call that busy times are spared.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let sleeps = mem::take(&mut state.waiting);
        drop(state);
        if sleeps {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::event::Message, *};
    use crate::config::Severity;

    fn record() -> Arc<Record> {
        Arc::new(Record::Message(Message::new(Severity::Info, "text")))
    }

    fn queue(capacity: usize) -> Queue {
        Queue::new(capacity, IntCounter::new("dropped", "dropped").unwrap())
    }

    #[test]
    fn counts_what_does_not_fit_and_keeps_what_was_there() {
        let queue = queue(2);
        for _ in 0..5 {
            queue.push(record());
        }
        let mut batch = Batch::new();
        let taken = queue.take(&mut batch, None);
        assert_eq!((batch.len(), taken.lost), (2, 3));
        assert_eq!(queue.dropped.get(), 3);
        queue.push(record());
        assert_eq!(queue.take(&mut batch, None).lost, 0, "told once");
        assert_eq!(batch.len(), 3);
    }

    #[test]
    fn takes_nothing_in_after_it_was_closed() {
        let queue = queue(2);
        queue.push(record());
        queue.close();
        queue.push(record());
        let mut batch = Batch::new();
        let taken = queue.take(&mut batch, None);
        assert!(taken.closed);
        assert_eq!((batch.len(), taken.lost), (1, 1));
    }

    #[test]
    fn wakes_a_worker_that_waits_for_records_for_a_reopen_and_for_the_end() {
        let queue = queue(2);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut seen = Vec::new();
                loop {
                    let mut batch = Batch::new();
                    let taken = queue.take(&mut batch, None);
                    seen.push((batch.len(), taken.reopen));
                    if taken.closed {
                        return seen;
                    }
                }
            });
            let asleep = || {
                while !queue.lock().waiting {
                    std::thread::yield_now();
                }
            };
            asleep();
            queue.push(record());
            asleep();
            queue.reopen();
            asleep();
            queue.close();
            assert_eq!(worker.join().unwrap(), [(1, false), (0, true), (0, false)]);
        });
    }

    #[test]
    fn a_rest_ends_early_when_the_queue_is_half_full() {
        let queue = queue(8);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.rest(Duration::from_hours(1)));
            while !worker.is_finished() {
                if queue.lock().records.len() < 4 {
                    queue.push(record());
                }
                queue.lock().waiting = true;
                queue.wake(queue.lock());
                std::thread::yield_now();
            }
        });
        queue.push(record());
        queue.rest(Duration::ZERO);
    }

    #[test]
    fn a_pause_ends_early_when_the_queue_is_closed() {
        let queue = queue(2);
        assert!(queue.pause(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| queue.pause(Duration::from_hours(1)));
            queue.close();
            assert!(!worker.join().unwrap());
        });
    }
}
