//! The kernel's lane for TCP flows: whether it can be had, and who answers its calls.
//!
//! What holds: flows that begin before the lane is there are copied and spliced; a machine that is
//! too busy for the lane's test when the daemon starts has the lane later.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    join,
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    config::{self, Lane, Protocol},
    kernel::lanes::{Calls, Lanes, LanesError},
    observe::{LaneMetrics, Metrics},
    relay::Switchboard,
    sys,
};

/// Where the lane is found, once it is there.
pub(super) type Board = Arc<OnceLock<Arc<Switchboard>>>;

/// The lane at work, or not. Dropping it ends what rings the flows.
pub(super) struct Laning {
    board: Board,
    task: Option<JoinHandle<()>>,
}

impl Laning {
    /// Loads and tests the program if a listener may use it. Says once what came of it, and waits for
    /// that, but not for long.
    pub(super) async fn start(listeners: &[config::Listener], metrics: &Metrics) -> Self {
        let gauges = metrics.lanes();
        for lane in [Lane::Copy, Lane::Splice] {
            gauges.set_available(lane, None);
        }
        let board = Board::default();
        let is_wanted = listeners.iter().any(|listener| {
            listener.protocol == Protocol::Tcp
                && matches!(listener.tcp.lane, None | Some(Lane::Sockmap))
        });
        if !is_wanted {
            gauges.set_available(Lane::Sockmap, Some("not_wanted"));
            return Self { board, task: None };
        }
        gauges.set_available(Lane::Sockmap, Some("testing"));
        let (judged, first_verdict) = oneshot::channel();
        let task = tokio::spawn(find(Arc::clone(&board), metrics.clone(), judged));
        if timeout(START_WAITS, first_verdict).await.is_err() {
            info!("Sockmap lane not tested yet: flows are spliced and copied until it is");
        }
        let task = Some(task);
        Self { board, task }
    }

    pub(super) fn board(&self) -> Board {
        Arc::clone(&self.board)
    }
}

impl Drop for Laning {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Tries to get the lane, again where there was no time for its test, and then serves it for ever.
/// Tells `judged` when it has been tried once.
async fn find(board: Board, metrics: Metrics, judged: oneshot::Sender<()>) {
    let gauges = metrics.lanes();
    let mut judged = Some(judged);
    let mut pauses = PAUSES.into_iter();
    loop {
        let found = match load().await {
            Ok(lanes) => Calling::new(lanes),
            Err(obstacle) => Err(obstacle),
        };
        let obstacle = match found {
            Ok(calling) => {
                gauges.set_available(Lane::Sockmap, None);
                return calling.serve(&board, &metrics, judged).await;
            }
            Err(obstacle) => obstacle,
        };
        let retry_in = pauses.next().filter(|_| obstacle.may_pass);
        obstacle.report(&gauges, retry_in);
        if let Some(judged) = judged.take() {
            // Whoever waited for it may have gone on.
            let _gone_on = judged.send(());
        }
        match retry_in {
            Some(pause) => sleep(pause).await,
            None => return,
        }
    }
}

/// The loaded program, and how its calls are heard.
struct Calling {
    board: Switchboard,
    calls: Calls,
    bell_push: AsyncFd<OwnedFd>,
}

impl Calling {
    fn new(mut lanes: Lanes) -> Result<Self, Obstacle> {
        let refused = |error: io::Error| Obstacle {
            word: "refused",
            reason: format!("its calls cannot be heard: {error}"),
            may_pass: false,
        };
        let calls = lanes
            .take_calls()
            .ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        let bell_push = sys::watch_twin(calls.as_fd(), Interest::READABLE).map_err(refused)?;
        info!(max_flows = lanes.room(), "Sockmap lane ready");
        Ok(Self {
            board: Switchboard::new(lanes),
            calls,
            bell_push,
        })
    }

    /// Lets flows in, and rings those that are called.
    async fn serve(self, board: &Board, metrics: &Metrics, judged: Option<oneshot::Sender<()>>) {
        let switchboard = Arc::clone(board.get_or_init(|| Arc::new(self.board)));
        if let Some(judged) = judged {
            let _gone_on = judged.send(());
        }
        let (counted, counters) = (Arc::clone(&switchboard), metrics.lanes());
        metrics.refresh_with(move || {
            counted.count();
            if let Ok(slips) = counted.slips() {
                counters.set_slips(slips);
            }
        });
        let ringing = switchboard.ring(self.calls, self.bell_push);
        // Fails only when the runtime is shut down, and with it every flow.
        drop(join!(ringing, switchboard.keep_counting()));
    }
}

/// Why there is no lane.
struct Obstacle {
    /// In a word.
    word: &'static str,
    /// In a sentence.
    reason: String,
    /// Whether another try may end otherwise.
    may_pass: bool,
}

impl Obstacle {
    fn report(&self, gauges: &LaneMetrics, retry_in: Option<Duration>) {
        gauges.set_available(Lane::Sockmap, Some(self.word));
        let reason = &*self.reason;
        let retry_in = retry_in.map(|pause| pause.as_secs());
        warn!(
            reason,
            retry_in, "No sockmap lane: flows are spliced and copied"
        );
    }
}

/// Loads and tests it on a thread of its own, which the daemon's end does not wait for.
async fn load() -> Result<Lanes, Obstacle> {
    let failed = |reason: String| Obstacle {
        word: "refused",
        reason,
        may_pass: false,
    };
    let (done, outcome) = oneshot::channel();
    let try_it = move || {
        // Whoever wanted to know has ended.
        drop(done.send(load_and_test()));
    };
    let thread = thread::Builder::new().name("lane-test".to_owned());
    let thread = thread.spawn(try_it);
    thread.map_err(|error| failed(format!("there is no thread for its test: {error}")))?;
    match outcome.await {
        Ok(Ok(lanes)) => Ok(lanes),
        Ok(Err(error)) => Err(Obstacle {
            word: error.obstacle(),
            reason: error.explain(),
            may_pass: error.is_for_lack_of_time(),
        }),
        Err(_panicked) => Err(failed("its test panicked".to_owned())),
    }
}

fn load_and_test() -> Result<Lanes, LanesError> {
    // A flow has two sockets.
    let flows = u32::try_from(sys::raise_open_files() / 2).unwrap_or(u32::MAX);
    let mut lanes = Lanes::load(flows.clamp(LEAST_FLOWS, MOST_FLOWS))?;
    lanes.self_test()?;
    Ok(lanes)
}

const LEAST_FLOWS: u32 = 64;

/// What the maps take grows with this, whether there are flows or not: 13 MB.
const MOST_FLOWS: u32 = 32_768;

/// How long the start waits for the lane. Its test takes a tenth of a second as a rule.
const START_WAITS: Duration = Duration::from_secs(5);

/// How long to wait before the test is tried again, each time.
const PAUSES: [Duration; 3] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
];
