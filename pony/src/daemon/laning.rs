//! The kernel's lane for TCP flows: whether it can be had, and who answers its calls.

use std::{io, os::fd::AsFd as _, sync::Arc};

use tokio::{
    io::Interest,
    join,
    task::{JoinHandle, spawn_blocking},
};
use tracing::{info, warn};

use crate::{
    config::{self, Lane, Protocol},
    kernel::lanes::{Lanes, LanesError},
    observe::Metrics,
    relay::Switchboard,
    sys,
};

/// The lane at work, or not. Dropping it ends what rings the flows.
pub(super) struct Laning {
    board: Option<Arc<Switchboard>>,
    ringing: Option<JoinHandle<()>>,
}

impl Laning {
    /// Loads and tests the program if a listener may use it. Says once what came of it.
    pub(super) async fn start(listeners: &[config::Listener], metrics: &Metrics) -> Self {
        let gauges = metrics.lanes();
        for lane in [Lane::Copy, Lane::Splice] {
            gauges.set_available(lane, None);
        }
        let is_wanted = listeners.iter().any(|listener| {
            listener.protocol == Protocol::Tcp
                && matches!(listener.tcp.lane, None | Some(Lane::Sockmap))
        });
        if !is_wanted {
            gauges.set_available(Lane::Sockmap, Some("not_wanted"));
            return Self {
                board: None,
                ringing: None,
            };
        }
        let lanes = match spawn_blocking(load).await {
            Ok(lanes) => lanes.map_err(|error| (error.obstacle(), error.explain())),
            Err(panicked) => Err(("refused", panicked.to_string())),
        };
        match lanes.and_then(|lanes| Self::serve(lanes, metrics)) {
            Ok(laning) => {
                gauges.set_available(Lane::Sockmap, None);
                laning
            }
            Err((obstacle, reason)) => {
                gauges.set_available(Lane::Sockmap, Some(obstacle));
                warn!(reason, "No sockmap lane: flows are spliced and copied");
                Self {
                    board: None,
                    ringing: None,
                }
            }
        }
    }

    /// Puts the program to work. The error is the obstacle in a word, and in a sentence.
    fn serve(mut lanes: Lanes, metrics: &Metrics) -> Result<Self, (&'static str, String)> {
        let refused = |error: io::Error| ("refused", format!("its calls cannot be heard: {error}"));
        let calls = lanes
            .take_calls()
            .ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        let bell_push = sys::watch_twin(calls.as_fd(), Interest::READABLE).map_err(refused)?;
        info!(max_flows = lanes.room(), "Sockmap lane ready");
        let board = Arc::new(Switchboard::new(lanes));
        let (counted, counters) = (Arc::clone(&board), metrics.lanes());
        metrics.refresh_with(move || {
            counted.count();
            if let Ok(slips) = counted.slips() {
                counters.set_slips(slips);
            }
        });
        let ringing = tokio::spawn({
            let board = Arc::clone(&board);
            async move {
                // Fails only when the runtime is shut down, and with it every flow.
                drop(join!(board.ring(calls, bell_push), board.keep_counting()));
            }
        });
        Ok(Self {
            board: Some(board),
            ringing: Some(ringing),
        })
    }

    pub(super) fn board(&self) -> Option<Arc<Switchboard>> {
        self.board.clone()
    }
}

impl Drop for Laning {
    fn drop(&mut self) {
        if let Some(ringing) = &self.ringing {
            ringing.abort();
        }
    }
}

fn load() -> Result<Lanes, LanesError> {
    // A flow has two sockets.
    let flows = u32::try_from(sys::raise_open_files() / 2).unwrap_or(u32::MAX);
    let mut lanes = Lanes::load(flows.clamp(LEAST_FLOWS, MOST_FLOWS))?;
    lanes.self_test()?;
    Ok(lanes)
}

const LEAST_FLOWS: u32 = 64;

/// What the maps take grows with this, whether there are flows or not: 13 MB.
const MOST_FLOWS: u32 = 32_768;
