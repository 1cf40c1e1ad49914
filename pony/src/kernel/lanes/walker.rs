//! The walks of `tcp_leave` past all TCP sockets, by a thread of their own.
//!
//! The kernel has no way to run a program for one socket under its lock, only for all of them one
//! after the other. One walk serves all flows that want to leave. Who wants one says so, is told
//! when a walk that began after that is over, and looks then what has become of its sockets.
//!
//! A walk takes 1 ms where there are few sockets, for the buckets of the kernel's table, 7 ms past
//! 10,000 and some 30 ms past 60,000 (Linux 6.18, two cores).
//!
//! What always holds: there is one walk at a time, and walking takes no more than a tenth of the
//! time, whatever flows do.

use std::{
    error::Error,
    io::{ErrorKind, Read as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use aya::{Ebpf, programs::Iter};
use pony_common::names;
use tokio::sync::watch;
use tracing::warn;

use super::error::LanesError;
use crate::kernel::object;

/// Who walks. Dropping it ends the thread, once its walk is over.
pub(super) struct Walker {
    wishes: Arc<Wishes>,
    /// How many walks are over.
    over: watch::Receiver<u64>,
    thread: Option<JoinHandle<()>>,
}

/// A walk that will begin, or has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Walk(u64);

#[derive(Default)]
struct Wishes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many walks have begun.
    begun: u64,
    is_wanted: bool,
    is_stopping: bool,
}

impl Walker {
    /// Takes the programs, of which `tcp_leave` is loaded, for as long as it lives.
    ///
    /// It sees the sockets of the network namespace that the caller is in.
    pub(super) fn start(programs: Ebpf) -> Result<Self, LanesError> {
        let wishes = Arc::new(Wishes::default());
        let (told, over) = watch::channel(0);
        let of_thread = Arc::clone(&wishes);
        let thread = Builder::new()
            .name("pony-leave".to_owned())
            .spawn(move || of_thread.serve(programs, &told))
            .map_err(|source| LanesError::Refused {
                what: "a thread",
                source: source.into(),
            })?;
        Ok(Self {
            wishes,
            over,
            thread: Some(thread),
        })
    }

    /// Wants a walk that begins after this.
    pub(super) fn ask(&self) -> Walk {
        let mut state = self.wishes.state();
        state.is_wanted = true;
        self.wishes.changed.notify_one();
        Walk(state.begun + 1)
    }

    pub(super) fn is_over(&self, walk: Walk) -> bool {
        *self.over.borrow() >= walk.0
    }

    /// Waits until the walk is over.
    pub(super) async fn until_over(&self, walk: Walk) {
        let mut over = self.over.clone();
        // If there is nobody who walks any more, whoever waits has to wait for something else.
        if over.wait_for(|over| *over >= walk.0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Walker {
    fn drop(&mut self) {
        self.wishes.state().is_stopping = true;
        self.wishes.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Wishes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut programs: Ebpf, told: &watch::Sender<u64>) {
        let mut has_failed = false;
        while let Some(number) = self.next() {
            let start = Instant::now();
            if let Err(error) = walk(&mut programs)
                && !has_failed
            {
                // The flows that want to leave stay, which costs them nothing but time.
                has_failed = true;
                warn!(%error, "Sockmap lane: flows cannot leave");
            }
            told.send_replace(number);
            self.rest(start.elapsed() * RESTS);
        }
    }

    /// Waits until somebody wants a walk, and answers its number; `None` if it is time to stop.
    fn next(&self) -> Option<u64> {
        let state = self.state();
        let mut state = self
            .changed
            .wait_while(state, |state| !state.is_wanted && !state.is_stopping)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_stopping {
            return None;
        }
        state.is_wanted = false;
        state.begun += 1;
        Some(state.begun)
    }

    fn rest(&self, time: Duration) {
        let state = self.state();
        drop(
            self.changed
                .wait_timeout_while(state, time, |state| !state.is_stopping),
        );
    }
}

/// Runs the program for every socket once. A socket that is moved in the kernel's table meanwhile
/// may be missed.
fn walk(programs: &mut Ebpf) -> Result<(), Box<dyn Error + Send + Sync>> {
    let name = names::TCP_LEAVE;
    let program = programs.program_mut(name);
    let program: &mut Iter = program.ok_or_else(|| object::missing(name))?.try_into()?;
    let link = program.attach()?;
    let mut sockets = program.take_link(link)?.into_file()?;
    loop {
        // The program says nothing: there is nothing to read, but its end.
        match sockets.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            // After a million sockets the kernel wants to be asked again.
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            _ => {}
        }
    }
}

/// So many times as long as a walk takes, no other one begins.
const RESTS: u32 = 9;
