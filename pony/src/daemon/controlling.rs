//! The control socket at work.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Control, Desk};

/// Answers operators, and ends bans when their time is over.
pub(super) struct Controlling {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Controlling {
    pub(super) fn start(control: Control, desk: Desk) -> Self {
        let stop = CancellationToken::new();
        let desk = Arc::new(desk);
        let serving = admin::serve(control, Arc::clone(&desk), stop.clone());
        let task = tokio::spawn(async move {
            select! {
                () = serving => {}
                () = expire(&desk) => {}
            }
        });
        Self { stop, task }
    }

    /// Ends it; the socket is removed then.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // It has no reason to panic, and if it did, that has been said.
        drop(self.task.await);
    }
}

/// A ban ends at its moment; that is said a little later.
async fn expire(desk: &Desk) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        desk.expire();
    }
}

const LOOK: Duration = Duration::from_millis(500);
