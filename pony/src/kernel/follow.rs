//! The task that hears of changes of interfaces and addresses and has the guard follow them.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aya::Ebpf;
use pony_common::names;
use tokio::{
    select,
    task::{AbortHandle, spawn_blocking},
    time::sleep,
};
use tracing::warn;

use super::{
    error::StartError,
    interfaces,
    links::{Links, Where},
    locals::{self, Locals},
    netlink::{Changes, Monitor},
};
use crate::config;

/// The guard on its interfaces. Dropping it detaches everywhere.
pub(super) struct Follower {
    links: Arc<Mutex<Links>>,
    task: AbortHandle,
    shown: Where,
}

impl Follower {
    /// Attaches the programs, and goes on to follow the interfaces of this network namespace.
    pub(super) async fn start(mut ebpf: Ebpf, config: &config::Guard) -> Result<Self, StartError> {
        let unlisted = |source| StartError::Interfaces { source };
        // Before the interfaces are listed: what changes afterwards is heard.
        let monitor = Monitor::new().map_err(unlisted)?;
        let present = interfaces::list().await.map_err(unlisted)?;
        let mut locals = Locals::take(&mut ebpf)?;
        let addresses = locals::list().await.map_err(unlisted)?;
        let unknown = |source| StartError::map(names::LOCALS, source);
        locals.update(&addresses).map_err(unknown)?;
        let mut links = Links::new(ebpf, config)?;
        links.begin(&present, config.mode)?;
        let shown = links.shown();
        let links = Arc::new(Mutex::new(links));
        let task = tokio::spawn(follow(Arc::clone(&links), locals, monitor)).abort_handle();
        Ok(Self { links, task, shown })
    }

    /// Where the guard is attached, kept up to date.
    pub(super) fn shown(&self) -> &Where {
        &self.shown
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
        // The task may be at work still; it finds nothing to do once this is closed.
        lock(&self.links).close();
    }
}

async fn follow(links: Arc<Mutex<Links>>, mut locals: Locals, mut monitor: Monitor) {
    loop {
        let is_waiting = lock(&links).is_waiting();
        if let Err(error) = turn(&links, &mut locals, &mut monitor, is_waiting).await {
            warn!(%error, "Kernel guard cannot follow the interfaces: it tries again");
            sleep(RETRY).await;
            // What was missed meanwhile is seen when all are listed.
            if let Ok(new) = Monitor::new() {
                monitor = new;
            }
        }
    }
}

/// Waits for changes, or until it is time to look again, and follows.
async fn turn(
    links: &Arc<Mutex<Links>>,
    locals: &mut Locals,
    monitor: &mut Monitor,
    is_waiting: bool,
) -> io::Result<()> {
    let patience = if is_waiting { RETRY } else { LOOK };
    let mut changes = select! {
        changes = monitor.changes() => changes?,
        () = sleep(patience) => Changes::default(),
    };
    // Changes come in bursts.
    sleep(BURST).await;
    monitor.take_rest(&mut changes)?;
    let addresses = locals::list().await?;
    locals.update(&addresses).map_err(io::Error::other)?;
    let present = interfaces::list().await?;
    let links = Arc::clone(links);
    // A driver may take its time to change its queues.
    let followed = spawn_blocking(move || lock(&links).follow(&changes.gone, &present));
    followed.await.map_err(io::Error::other)
}

fn lock(links: &Mutex<Links>) -> MutexGuard<'_, Links> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long to wait for more changes after the first one.
const BURST: Duration = Duration::from_millis(20);
/// How often an interface that refused the guard is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How often the interfaces are looked at although no change was heard of: that a program was taken
/// off is not announced.
const LOOK: Duration = Duration::from_secs(30);
