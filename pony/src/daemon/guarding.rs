//! The daemon and its kernel guard at work together.
//!
//! A task goes round ten times a second, and at once when a client is free again: what the guard
//! reports becomes log lines and attempts; whom the policy refuses by what only the daemon knows is
//! blocked in the kernel, for as long as that holds, and so is who is banned. The metrics read what the guard counted when
//! they are asked for.

mod banned;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pony_common::{
    addr::Addr16,
    layout::{block::BlockKey, reads, stats::Slot},
    reason::Reason,
    time::Nanos,
};
use prometheus::IntGauge;
use tokio::{
    select,
    sync::{Notify, mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::banned::Banned;
use super::{Bound, StartError};
use crate::{
    admin::Rounds,
    config::{self, Protocol},
    kernel::{self, Blocks, Counters, Events, Guard, Report, Wanted},
    listen::Service,
    observe::{GuardMetrics, Metrics},
    policy::{BanList, Held},
    sys,
};

/// A guard at work. Dropping it detaches the guard.
pub(super) struct Guarding {
    stop: CancellationToken,
    task: JoinHandle<()>,
    refresh: Arc<Refresh>,
    rounds: Rounds,
    _guard: Guard,
}

impl Guarding {
    /// Starts the guard as the configuration wants; `None` without one. `freed` is notified when a
    /// client is free again that was held back for what it has open. The clients in `bans` are
    /// blocked. The metrics' socket is left alone.
    pub(super) async fn start(
        config: &config::Guard,
        bound: &[Bound],
        metrics: &Metrics,
        freed: Arc<Notify>,
        bans: &Arc<BanList>,
        metrics_address: Option<SocketAddr>,
    ) -> Result<Option<Self>, StartError> {
        let listeners: Vec<_> = bound.iter().map(Bound::guard_listener).collect();
        let Some(mut guard) = kernel::start(config, &listeners, metrics_address.as_slice()).await?
        else {
            return Ok(None);
        };
        let labels = listeners
            .iter()
            .map(|listener| (listener.name, listener.rules.protocol));
        let refresh = Arc::new(Refresh {
            counters: guard.counters(),
            metrics: GuardMetrics::register(metrics, labels)?,
        });
        refresh.metrics.generation.set(gauge(guard.generation()));
        let refreshing = Arc::clone(&refresh);
        metrics.refresh_with(move || refreshing.run());
        let prefixes = bound.iter().map(|bound| bound.service.policy.ipv6_prefix());
        let round = Round {
            services: bound.iter().map(Bound::service).collect(),
            banned: Banned::new(Arc::clone(bans), prefixes.collect()),
            events: guard.take_events(),
            blocks: guard.take_blocks(),
            most: usize::try_from(config.max_blocks).unwrap_or(usize::MAX),
            blocked: refresh.metrics.blocks.clone(),
        };
        let stop = CancellationToken::new();
        let (rounds, asked) = mpsc::channel(MOST_ASKED);
        let bells = Bells { freed, asked };
        Ok(Some(Self {
            task: tokio::spawn(go_round(round, bells, stop.clone())),
            stop,
            refresh,
            rounds,
            _guard: guard,
        }))
    }

    /// For whoever wants to know that the guard has been told of a change.
    pub(super) fn rounds(&self) -> Rounds {
        self.rounds.clone()
    }

    /// Ends everything; what the guard has counted is in the metrics then.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        // It has no reason to panic, and if it did, that has been said.
        drop((&mut self.task).await);
        self.refresh.run();
    }
}

impl Drop for Guarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From the guard's counters to the metrics.
struct Refresh {
    counters: Arc<Counters>,
    metrics: GuardMetrics,
}

impl Refresh {
    /// Reads so many numbers as there are listeners, however many clients there are.
    fn run(&self) {
        let Self { counters, metrics } = self;
        for listener in 0..metrics.listeners() {
            for slot in Slot::ALL {
                if let Some(tally) = counters.tally(listener, slot) {
                    metrics.set_tally(listener, slot, tally);
                }
            }
        }
        for slot in 0..reads::SLOTS {
            if let Some(packets) = counters.read(slot) {
                metrics.set_read(slot, packets);
            }
        }
        if let Some(withheld) = counters.withheld() {
            metrics.set_withheld(withheld);
        }
        let attached = counters.attached();
        let attached = attached.iter();
        metrics.set_attached(attached.map(|(name, mode)| (name.as_str(), mode.as_str())));
    }
}

/// What makes a round begin early.
struct Bells {
    /// A client is free again.
    freed: Arc<Notify>,
    /// Somebody waits for the end of a round that begins now.
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

/// Goes round until it is stopped, and then takes all blocks back.
async fn go_round(mut round: Round, mut bells: Bells, stop: CancellationToken) {
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        let Some((went, pause)) = turn(round).await else {
            return;
        };
        round = went;
        for asker in waiting.drain(..) {
            // Who waits no longer need not be told.
            asker.send(()).ok();
        }
        select! {
            () = stop.cancelled() => break,
            () = bells.freed.notified() => {}
            Some(asker) = bells.asked.recv() => waiting.push(asker),
            () = sleep(pause) => {}
        }
        // Not one round for each of many clients that leave together.
        sleep(BURST).await;
        waiting.extend(std::iter::from_fn(|| bells.asked.try_recv().ok()));
    }
    // At worst the blocks end by themselves.
    drop(spawn_blocking(move || round.end()).await);
}

/// One round, and how long to wait then. The kernel may make it wait.
async fn turn(mut round: Round) -> Option<(Round, Duration)> {
    let went = spawn_blocking(move || {
        let pause = round.go(sys::now());
        (round, pause)
    });
    went.await.ok()
}

/// What is done in a round.
struct Round {
    services: Vec<Arc<Service>>,
    banned: Banned,
    events: Option<Events>,
    blocks: Option<Blocks>,
    /// How many clients may be blocked.
    most: usize,
    blocked: IntGauge,
}

impl Round {
    /// Goes round once, and answers how long to wait before the next time.
    fn go(&mut self, now: Nanos) -> Duration {
        self.hear(now);
        let mut next = now.saturating_add(PAUSE);
        // First, as they come first: if there is no room for all, the limits go without.
        let mut wanted = self.banned.wanted(now).to_vec();
        for (listener, service) in (0..).zip(&self.services) {
            let protocol = service.config.protocol;
            for held in service.policy.held_back(protocol, now, self.most) {
                if let Some(block) = block(listener, protocol, &held) {
                    next = next.min(held.until);
                    wanted.push(block);
                }
            }
        }
        self.block(wanted, now);
        next.saturating_sub(now).into()
    }

    /// Takes back all blocks.
    fn end(&mut self) {
        let now = sys::now();
        self.hear(now);
        self.block(Vec::new(), now);
    }

    fn block(&mut self, wanted: Vec<Wanted>, now: Nanos) {
        let Some(blocks) = &mut self.blocks else {
            return;
        };
        for refused in blocks.update(wanted.into_iter(), now) {
            if let Some(service) = service(&self.services, refused.key.listener) {
                let policy = &service.policy;
                policy.count_refused(refused.key.client, refused.attempts, now);
            }
        }
        self.blocked.set(gauge(blocks.len() as u64));
    }

    fn hear(&mut self, now: Nanos) {
        let Some(events) = &mut self.events else {
            return;
        };
        for report in std::iter::from_fn(|| events.take()).take(MOST_EVENTS) {
            heard(&self.services, &report, now);
        }
        for report in events.overdue(now) {
            heard(&self.services, &report, now);
        }
    }
}

/// Makes a report a log line, and attempts of its client.
fn heard(services: &[Arc<Service>], report: &Report, now: Nanos) {
    let Some(service) = service(services, report.listener) else {
        return;
    };
    // What is only reported goes on to the daemon, which says so.
    let Slot::Drop(reason) = report.slot else {
        return;
    };
    let count = match reason {
        Reason::Malformed => report.packets,
        _ => report.attempts,
    };
    if count > 0 {
        service.recorder.guard_refused(report.client, reason, count);
    }
    let client = Addr16::from(report.client);
    match (service.config.protocol, reason) {
        (Protocol::Tcp, Reason::AttemptLimit) => {
            service.policy.count_refused(client, report.attempts, now);
        }
        (Protocol::Udp, Reason::BandwidthLimit) => service.policy.note_limited(client),
        // Blocks tell theirs themselves, and sooner.
        _ => {}
    }
}

fn service(services: &[Arc<Service>], listener: u32) -> Option<&Arc<Service>> {
    services.get(usize::try_from(listener).ok()?)
}

/// The block for a client that is held back.
fn block(listener: u32, protocol: Protocol, held: &Held) -> Option<Wanted> {
    let Held {
        client,
        reason,
        scope,
        until,
    } = *held;
    let until = match (protocol, reason) {
        // The guard counts these by itself, in windows of its own.
        (Protocol::Tcp, Reason::AttemptLimit) => return None,
        // What the kernel refuses until then counts too: the daemon says when it is enough.
        (Protocol::Udp, Reason::AttemptLimit) => Nanos::MAX,
        _ => until,
    };
    Some(Wanted {
        key: BlockKey { listener, client },
        reason,
        scope,
        until,
    })
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How often a round begins when nothing wakes it.
const PAUSE: Nanos = Nanos::from_millis(100);
/// The shortest time between two rounds.
const BURST: Duration = Duration::from_millis(1);
/// More operators wait their turn.
const MOST_ASKED: usize = 64;
/// More than the ring buffer holds are not taken in one round.
const MOST_EVENTS: usize = 8_192;

#[cfg(test)]
mod tests;
