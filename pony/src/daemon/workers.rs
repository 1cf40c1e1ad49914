//! The threads that serve TCP clients.
//!
//! Each has a runtime of its own and, for every listener, a listening socket of its own. So a flow
//! lives on the thread that accepted it: nothing of it is handed from core to core, and no lock of
//! a scheduler is between it and its sockets. The kernel spreads the clients (`SO_REUSEPORT`).

use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::relay;

/// The threads. Dropping them ends what still runs there.
pub(super) struct Workers {
    workers: Vec<Worker>,
}

struct Worker {
    runtime: Handle,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts so many; as many as there are processors for this process, if not told.
    pub(super) fn start(threads: Option<usize>) -> io::Result<Self> {
        let threads = match threads {
            Some(threads) => threads,
            None => thread::available_parallelism()?.get(),
        };
        let workers = (0..threads).map(Worker::start);
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Their runtimes.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = &Handle> {
        self.workers.iter().map(|worker| &worker.runtime)
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(relay::rests)
            .build()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name(format!("pony-tcp-{number}"))
            .spawn(move || {
                runtime.block_on(stopped.cancelled());
                // Look-ups that hang in the system's resolver are not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.stop.cancel();
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // It ended, or it panicked: what it served is gone either way.
                drop(thread.join());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn each_worker_runs_what_it_is_given_on_its_own_thread() {
        let workers = Workers::start(Some(3)).unwrap();
        assert_eq!(workers.len(), 3);
        let mut names = Vec::new();
        for runtime in workers.runtimes() {
            let (tell, told) = oneshot::channel();
            runtime.spawn(async { tell.send(thread::current().name().map(str::to_owned)) });
            names.extend(told.await.unwrap());
        }
        assert_eq!(names, ["pony-tcp-0", "pony-tcp-1", "pony-tcp-2"]);
    }

    #[test]
    fn without_a_number_there_are_as_many_as_processors() {
        let processors = thread::available_parallelism().unwrap().get();
        assert_eq!(Workers::start(None).unwrap().len(), processors);
    }
}
