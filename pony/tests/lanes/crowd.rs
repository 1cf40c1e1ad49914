//! A daemon and as many flows through it as a test wants, checked at both ends and in its accounts.

use std::{
    cell::Cell,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::{
    flow::{self, Ends},
    harness::{PATIENCE, Pony, wait_eq, wait_for},
    lane::Lane,
    leftovers::Leftovers,
    plan::Plan,
    proof::Proof,
    world::block_on,
};

/// A daemon with some listeners, each in front of a target of its own.
///
/// At each listener one flow at a time is opened, so that its two ends are known to belong together.
pub(crate) struct Crowd {
    pub(crate) pony: Pony,
    lane: Lane,
    targets: Vec<std::net::TcpListener>,
    leftovers: Leftovers,
    closed: Cell<usize>,
}

struct Slot {
    listener: SocketAddr,
    target: Mutex<TcpListener>,
}

/// A flow that is over.
struct Done {
    plan: Plan,
    ends: Ends,
    outcome: Result<(), String>,
}

impl Crowd {
    /// Starts the daemon with so many threads.
    pub(crate) fn new(lane: Lane, threads: usize) -> Self {
        let targets: Vec<_> = (0..SLOTS)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut entries = targets.iter().zip(0..).map(|(target, slot)| {
            target.set_nonblocking(true).unwrap();
            let target = target.local_addr().unwrap();
            lane.listener(target, "").name(&name(slot))
        });
        let launch = lane.launch(&entries.next().unwrap()).threads(threads);
        let pony = entries
            .fold(launch, |launch, entry| launch.and(&entry))
            .start();
        let leftovers = Leftovers::before(&pony, lane);
        Self {
            pony,
            lane,
            targets,
            leftovers,
            closed: Cell::new(0),
        }
    }

    /// Runs these, at most so many at once; checks every byte, every end and the daemon's accounts,
    /// and that nothing is left behind.
    #[track_caller]
    pub(crate) fn run(&self, plans: Vec<Plan>, at_once: usize, seed: u64) {
        let count = plans.len();
        let before = Proof::of(&self.pony);
        let counted = self.counted();
        let done = block_on(self.flows(plans, at_once));
        let failed: Vec<_> = done.iter().filter_map(Done::problem).collect();
        assert!(
            failed.is_empty(),
            "{} of {count} flows went wrong with PONY_SEED={seed} in lane {}:\n{}",
            failed.len(),
            self.lane,
            failed[..failed.len().min(SHOWN)].join("\n")
        );
        self.leftovers
            .check(&self.pony, &(0..SLOTS).map(name).collect::<Vec<_>>());
        let moved = self.check_accounts(&done, counted);
        Proof::check(&self.pony, &before, self.lane, moved);
    }

    async fn flows(&self, plans: Vec<Plan>, at_once: usize) -> Vec<Done> {
        let slots = self.targets.iter().zip(0..).map(|(target, slot)| {
            let target = target.try_clone().unwrap();
            Rc::new(Slot {
                listener: self.pony.address(&name(slot)),
                target: Mutex::new(TcpListener::from_std(target).unwrap()),
            })
        });
        let slots: Vec<_> = slots.collect();
        let places = Arc::new(Semaphore::new(at_once));
        let mut flows = JoinSet::new();
        for (plan, slot) in plans.into_iter().zip(slots.iter().cycle()) {
            let slot = Rc::clone(slot);
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            flows.spawn_local(async move {
                let done = slot.flow(plan).await;
                drop(place);
                done
            });
        }
        flows.join_all().await
    }

    /// The bytes that each listener has counted, both ways.
    fn counted(&self) -> Vec<[u64; 2]> {
        let of_slot = |slot| ["sent", "received"].map(|way| self.pony.bytes(&name(slot), way));
        (0..SLOTS).map(of_slot).collect()
    }

    /// Compares the close events with what was moved, and the metrics with both. Returns how many
    /// bytes the daemon says it moved.
    #[track_caller]
    fn check_accounts(&self, done: &[Done], before: Vec<[u64; 2]>) -> u64 {
        let events = self.close_events(done.len());
        let mut by_listener = before;
        for event in &events {
            let listener = event["listener_name"].as_str().unwrap();
            let slot: usize = listener.trim_start_matches("slot").parse().unwrap();
            for (sum, key) in by_listener[slot]
                .iter_mut()
                .zip(["bytes_sent", "bytes_received"])
            {
                *sum += event[key].as_u64().unwrap();
            }
        }
        wait_eq(by_listener, || self.counted());

        let by_client: HashMap<_, _> = events
            .iter()
            .map(|event| (client_of(event), event))
            .collect();
        for done in done {
            done.check_event(by_client[&address(done.plan.number)]);
        }
        let sum = |key| {
            events
                .iter()
                .map(|event| event[key].as_u64().unwrap())
                .sum::<u64>()
        };
        sum("bytes_sent") + sum("bytes_received")
    }

    /// The next so many close events.
    #[track_caller]
    fn close_events(&self, count: usize) -> Vec<Value> {
        let seen = self.closed.get();
        let events = wait_for("every close event", || {
            let events = self.pony.events("close");
            (events.len() >= seen + count).then_some(events)
        });
        assert_eq!(events.len(), seen + count, "one close event for each flow");
        self.closed.set(seen + count);
        events.into_iter().skip(seen).collect()
    }
}

impl Slot {
    async fn flow(&self, plan: Plan) -> Done {
        let ends = Ends::default();
        let outcome = match self.open(&plan).await {
            Ok((client, target)) => flow::run(&plan, &ends, client, target).await,
            Err(problem) => Err(problem),
        };
        Done {
            plan,
            ends,
            outcome,
        }
    }

    /// Opens both ends of one flow.
    async fn open(&self, plan: &Plan) -> Result<(TcpStream, TcpStream), String> {
        let listener = self.target.lock().await;
        let open = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(size) = plan.up.buffer {
                socket.set_send_buffer_size(size)?;
            }
            if let Some(size) = plan.down.buffer {
                socket.set_recv_buffer_size(size)?;
            }
            socket.bind((address(plan.number), 0).into())?;
            let mut client = socket.connect(self.listener).await?;
            flow::send_early(plan, &mut client).await?;
            let (target, _) = listener.accept().await?;
            Ok((client, target))
        };
        match timeout(PATIENCE, open).await {
            Ok(opened) => opened.map_err(|error: std::io::Error| format!("cannot open: {error}")),
            Err(_) => Err("does not come to its target".to_owned()),
        }
    }
}

impl Done {
    fn problem(&self) -> Option<String> {
        let problem = self.outcome.as_ref().err()?;
        Some(format!(
            "{problem}\n    {:?}\n    {:?}",
            self.ends, self.plan
        ))
    }

    /// An orderly flow's event says exactly what was moved. After a reset bytes may have been lost
    /// on their way to a receiver, but none can have been received that were not counted.
    #[track_caller]
    fn check_event(&self, event: &Value) {
        let Self { plan, ends, .. } = self;
        let ways = [
            ("bytes_sent", &ends.client, &ends.target),
            ("bytes_received", &ends.target, &ends.client),
        ];
        for (key, sender, receiver) in ways {
            let counted = event[key].as_u64().unwrap();
            let (sent, received) = (sender.sent.get(), receiver.received.get());
            let is_right = match plan.reset {
                None => counted == sent && counted == received,
                Some(_) => counted <= sent && counted >= received,
            };
            assert!(
                is_right,
                "{key}, but {sent} sent and {received} received: {event} {plan:?}"
            );
        }
        let error = event["error"].as_str();
        assert_eq!(error.is_some(), plan.reset.is_some(), "{event} {plan:?}");
        if ends.looks_refused.get() {
            assert!(
                error.unwrap().starts_with("cannot connect"),
                "{event} {plan:?}"
            );
        }
    }
}

/// The address of a flow's client, another one for each.
fn address(number: u32) -> IpAddr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(127, 1 + a, b, c).into()
}

fn client_of(event: &Value) -> IpAddr {
    event["source_ip"].as_str().unwrap().parse().unwrap()
}

fn name(slot: usize) -> String {
    format!("slot{slot}")
}

const SLOTS: usize = 8;
/// How many failures are described.
const SHOWN: usize = 5;
