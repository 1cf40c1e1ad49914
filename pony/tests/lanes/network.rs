//! Networks that lose, delay and swap packets, or are gone for a while, between a client and the
//! daemon, each in a namespace of its own.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;

use crate::{
    dice::{Dice, is_long, seed},
    flow::{self, Ends},
    harness::{
        PATIENCE, Pony,
        peers::{accept, patient},
        wait_eq, wait_until,
    },
    lab::{CLIENT_V4, CLIENT_V6, Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp},
    lane::Lane,
    plan::Plan,
    proof::Proof,
    tools,
    world::block_on,
};

in_every_lane!(
    bare: a_network_that_loses_delays_and_swaps_packets_costs_no_byte,
    a_client_whose_link_is_down_for_a_while_goes_on_where_it_was,
);

/// How the daemon runs in one pass of a test.
#[derive(Clone, Copy, Debug)]
struct Pass {
    guard: &'static str,
    threads: usize,
    /// Whether the daemon reaches the target by IPv6.
    to_v6: bool,
}

/// With each of its fields both ways; in the long run with all of them combined.
fn passes() -> Vec<Pass> {
    let all = (0..8).map(|number: usize| Pass {
        guard: if number & 1 == 0 { "off" } else { "require" },
        threads: 1 + (number >> 1 & 1),
        to_v6: number & 4 != 0,
    });
    if is_long() {
        return all.collect();
    }
    all.step_by(7).collect()
}

fn a_network_that_loses_delays_and_swaps_packets_costs_no_byte(lane: Lane) {
    for pass in passes() {
        let Some(lab) = Lab::new() else { return };
        be_impatient(&lab);
        let stage = Stage::new(&lab, lane, pass);
        spoil(&lab);
        let seed = seed();
        let mut dice = Dice::new(seed);
        let plans = (0..FLOWS).map(|number| match number {
            0 | 1 => Plan::steady(number, LARGE, LARGE / 2, &mut dice),
            _ => Plan::orderly(number, &mut dice).at_most(MOST),
        });
        let flows = plans.map(|plan| stage.open(plan)).collect();
        stage.finish(flows, seed);
        let lost = dropped(&lab);
        assert!(lost > 0, "the network lost nothing");
    }
}

fn a_client_whose_link_is_down_for_a_while_goes_on_where_it_was(lane: Lane) {
    for pass in passes() {
        let Some(lab) = Lab::new() else { return };
        be_impatient(&lab);
        let stage = Stage::new(&lab, lane, pass);
        let seed = seed();
        let mut dice = Dice::new(seed);
        // Too much to be through before the link goes down.
        lab.client
            .run(&format!("tc qdisc add dev to-proxy root {SLOW}"));
        let plans = (0..4).map(|number| Plan::steady(number, LARGE, 0, &mut dice));
        let flows = plans.map(|plan| stage.open(plan)).collect();
        thread::scope(|scope| {
            let finish = scope.spawn(|| stage.finish(flows, seed));
            let sent = || lab.proxy.enter(|| stage.pony.bytes("lane", "sent"));
            wait_until("the flows to be under way", || sent() > LARGE / 4);
            lab.client.ip("link set to-proxy down\n");
            let stalled = lab
                .proxy
                .enter(|| stage.pony.bytes_when_stalled("lane", "sent"));
            assert!(
                stalled < 4 * LARGE,
                "all was through before the link went down"
            );
            lab.client.ip("link set to-proxy up\n");
            address_client(&lab);
            lab.client.run("tc qdisc del dev to-proxy root");
            finish
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }
}

/// A daemon in the middle of a lab, and a target behind it.
struct Stage<'a> {
    lab: &'a Lab,
    pony: Pony,
    target: TcpListener,
    lane: Lane,
    before: Proof,
}

/// Both ends of a flow that is open.
struct Open {
    plan: Plan,
    client: TcpStream,
    target: TcpStream,
}

impl<'a> Stage<'a> {
    fn new(lab: &'a Lab, lane: Lane, pass: Pass) -> Self {
        let target = lab.target.enter(|| TcpListener::bind("[::]:7").unwrap());
        let host = if pass.to_v6 { TARGET_V6 } else { TARGET_V4 };
        let entry = lane.with_lane(tcp("lane", PORT, &format!("{host}:7")), "");
        let launch = lane.launch(&entry).guard(pass.guard).threads(pass.threads);
        let pony = lab.start(launch);
        let before = lab.proxy.enter(|| Proof::of(&pony));
        Self {
            lab,
            pony,
            target,
            lane,
            before,
        }
    }

    /// Opens a flow by one family or the other.
    fn open(&self, plan: Plan) -> Open {
        let from: IpAddr = if plan.number.is_multiple_of(2) {
            CLIENT_V4[0].into()
        } else {
            CLIENT_V6[0].into()
        };
        let host = if from.is_ipv4() { PROXY_V4 } else { PROXY_V6 };
        let to: SocketAddr = format!("{host}:{PORT}").parse().unwrap();
        let client = self.lab.client.enter(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            socket.connect_timeout(&to.into(), PATIENCE).unwrap();
            patient(socket.into())
        });
        let target = accept(&self.target);
        let plan = Plan { early: 0, ..plan };
        Open {
            plan,
            client,
            target,
        }
    }

    /// Runs the flows to their ends, and checks everything.
    #[track_caller]
    fn finish(&self, flows: Vec<Open>, seed: u64) {
        let count = flows.len();
        let moved: [u64; 2] = flows.iter().fold([0, 0], |[up, down], flow| {
            [up + flow.plan.up.len, down + flow.plan.down.len]
        });
        let failed: Vec<_> = block_on(async {
            let mut tasks = JoinSet::new();
            for flow in flows {
                tasks.spawn_local(flow.run());
            }
            tasks.join_all().await
        });
        let failed: Vec<_> = failed.into_iter().flatten().collect();
        assert!(failed.is_empty(), "PONY_SEED={seed}: {}", failed.join("\n"));
        self.lab.proxy.enter(|| {
            wait_until("the gauge to be 0", || self.pony.active("lane") == 0);
            let counted = || ["sent", "received"].map(|way| self.pony.bytes("lane", way));
            wait_eq(moved, counted);
            Proof::check(&self.pony, &self.before, self.lane, moved.iter().sum());
        });
        wait_until("every close event", || {
            self.pony.events("close").len() == count
        });
        for event in self.pony.events("close") {
            assert!(event["error"].is_null(), "{event}");
        }
    }
}

impl Open {
    /// What went wrong, if anything did.
    async fn run(self) -> Option<String> {
        let ends = Ends::default();
        let asynchronous = |stream: TcpStream| {
            stream.set_nonblocking(true).unwrap();
            tokio::net::TcpStream::from_std(stream).unwrap()
        };
        let (client, target) = (asynchronous(self.client), asynchronous(self.target));
        let outcome = flow::run(&self.plan, &ends, client, target).await;
        outcome
            .err()
            .map(|problem| format!("{problem}\n    {ends:?}\n    {:?}", self.plan))
    }
}

/// Has TCP notice losses as it usually does, other than in the lab's own tests.
fn be_impatient(lab: &Lab) {
    for namespace in [&lab.client, &lab.proxy, &lab.target] {
        namespace.enter(|| fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "3").unwrap());
    }
    address_client(lab);
    lab.proxy.ip("route replace 192.0.2.0/24 dev to-client\n\
         route replace 2001:db8:1::/63 dev to-client\n");
    // Packets as they are on a wire, so that a loss is that of one.
    for (namespace, device) in [(&lab.client, "to-proxy"), (&lab.proxy, "to-client")] {
        namespace.run(&format!("ethtool -K {device} tso off gso off gro off"));
    }
}

/// The client's addresses and routes, which do not outlive a link that is down.
fn address_client(lab: &Lab) {
    let [v6, other] = CLIENT_V6;
    lab.client.ip(&format!(
        "addr replace {other}/63 dev to-proxy nodad noprefixroute\n\
         addr replace {v6}/63 dev to-proxy nodad noprefixroute\n\
         route replace 192.0.2.0/24 dev to-proxy\n\
         route replace 2001:db8:1::/63 dev to-proxy\n"
    ));
}

/// Loses some packets both ways, and lets some of the client's take a slower way, so that they are
/// late and others before them.
fn spoil(lab: &Lab) {
    let drops = one_in(50, TC_ACT_SHOT, TC_ACT_UNSPEC);
    let detour = one_in(20, MATCH, 0);
    lab.client.ip("link add slow type ifb\nlink set slow up\n");
    let lines = format!(
        "qdisc add dev slow root {SLOW}\n\
         qdisc add dev to-proxy clsact\n\
         filter add dev to-proxy ingress prio 1 bpf da bytecode \"{drops}\"\n\
         filter add dev to-proxy egress prio 1 bpf da bytecode \"{drops}\"\n\
         filter add dev to-proxy egress prio 2 bpf bytecode \"{detour}\" \
         action mirred egress redirect dev slow\n"
    );
    lab.client
        .enter(|| tools::run(&mut tools::command("tc -batch -"), &lines));
}

/// A program of classic BPF that returns `then` for one packet in `n`, and else `otherwise`.
///
/// Every kernel with `cls_bpf` runs it; `netem` is a module that not every kernel has.
fn one_in(n: u32, then: u32, otherwise: u32) -> String {
    let threshold = u32::MAX / n;
    format!("4,32 0 0 {RANDOM},53 1 0 {threshold},6 0 0 {then},6 0 0 {otherwise},")
}

/// How many packets the client's link has lost.
fn dropped(lab: &Lab) -> u64 {
    let text = lab.client.run("tc -s qdisc show dev to-proxy clsact");
    let (_, dropped) = text.split_once("(dropped ").unwrap();
    let (dropped, _) = dropped.split_once(',').unwrap();
    dropped.parse().unwrap()
}

const PORT: u16 = 7000;
const FLOWS: u32 = 20;
const LARGE: u64 = 4 << 20;
const MOST: u64 = 200_000;
/// Some milliseconds of queue.
const SLOW: &str = "tbf rate 100mbit burst 16k latency 50ms";
/// `SKF_AD_OFF + SKF_AD_RANDOM`: where a program of classic BPF loads a random number from.
const RANDOM: u32 = 0xffff_f000 + 56;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
/// What a classifier returns for a packet that is meant; 0 is for others.
const MATCH: u32 = u32::MAX;
