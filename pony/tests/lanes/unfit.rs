//! Machines on which the kernel cannot have the sockmap lane: the daemon says so once, and copies
//! and splices what it would have moved there. Clients and targets see no difference.

use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::{
    dice::seed,
    harness::{
        Launch, Pony,
        peers::{accept, connect, pattern},
        wait_eq, wait_until,
    },
    lab::{Lab, PROXY_V4, TARGET_V4, tcp},
    lane::Lane,
    peer::{Cargo, pass, whole},
    proof::Proof,
    tools,
};

#[test]
fn an_ordinary_user_has_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    Stage::new(&lab, Launch::by_nobody).serves("not_permitted", "CAP_BPF");
}

#[test]
fn root_without_capabilities_has_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    let launch = |launch: Launch| launch.through(&WITHOUT_CAPABILITIES);
    Stage::new(&lab, launch).serves("not_permitted", "CAP_BPF");
}

#[test]
fn a_kernel_without_type_information_has_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    lab.mounts.run("mount -t tmpfs none /sys/kernel/btf");
    let stage = Stage::new(&lab, |launch| launch);
    stage.serves("no_types", "CONFIG_DEBUG_INFO_BTF");
}

#[test]
fn where_loopback_is_down_are_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    lab.proxy.ip("link set lo down\n");
    let stage = Stage::new(&lab, |launch| launch);
    stage.serves("no_loopback", "is the interface lo up");
}

#[test]
fn where_loopback_is_closed_are_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    drop_on_loopback(&lab, 0);
    let stage = Stage::new(&lab, |launch| launch);
    stage.serves("no_loopback", "does the firewall let it be");
}

#[test]
fn a_kernel_that_fails_the_self_test_has_the_other_lanes() {
    let Some(lab) = Lab::new() else { return };
    // What it is to move in the test never comes, as on a kernel that leaves it behind.
    drop_on_loopback(&lab, 500);
    let stage = Stage::new(&lab, |launch| launch);
    stage.serves("self_test", "does not move bytes as it should: both ways");
}

#[test]
fn a_machine_that_is_too_slow_for_the_test_at_first_has_the_lane_later() {
    let Some(lab) = Lab::new() else { return };
    drop_on_loopback(&lab, 500);
    let target = lab.target.enter(|| TcpListener::bind("[::]:7").unwrap());
    let listener = tcp("late", 7000, &format!("{TARGET_V4}:7"));
    let proxy: SocketAddr = format!("{PROXY_V4}:7000").parse().unwrap();
    let asked_at = format!("{PROXY_V4}:9090");
    let launch = Launch::new(&Lane::Sockmap.with_lane(listener, "")).metrics(asked_at);
    let pony = std::thread::scope(|scope| {
        let starting = scope.spawn(|| lab.start(launch));
        wait_until("the daemon to serve without the lane", || {
            lab.client.enter(|| TcpStream::connect(proxy).is_ok())
        });
        lab.proxy.enter(|| {
            tools::run(
                &mut tools::command("tc -batch -"),
                "qdisc del dev lo clsact\n",
            );
        });
        starting.join().unwrap()
    });
    pony.message("Sockmap lane not tested yet: flows are spliced and copied until it is");
    pony.message("Sockmap lane ready");
    drop(accept(&target));
    let client = lab.client.enter(|| connect(proxy));
    let server = accept(&target);
    lab.client.enter(|| {
        wait_until("a flow to be in the lane", || {
            pass(&client, &server, b"question");
            pass(&server, &client, b"answer");
            Proof::of(&pony).moved_in("sockmap") > 0
        });
    });
}

/// A daemon in the middle of a lab, and a target behind it.
struct Stage<'a> {
    lab: &'a Lab,
    pony: Pony,
    target: TcpListener,
}

impl<'a> Stage<'a> {
    /// With a listener for each lane that could have been the kernel's.
    fn new(lab: &'a Lab, launch: impl FnOnce(Launch) -> Launch) -> Self {
        let target = lab.target.enter(|| TcpListener::bind("[::]:7").unwrap());
        let entry = |(lane, port): (Lane, u16)| {
            let listener = tcp(&lane.to_string(), port, &format!("{TARGET_V4}:7"));
            lane.with_lane(listener, "")
        };
        let [auto, forced] = LISTENERS.map(entry);
        // Where the client can ask: the proxy's loopback may be of no use.
        let asked_at = format!("{PROXY_V4}:9090");
        let pony = lab.start(launch(Launch::new(&auto).and(&forced)).metrics(asked_at));
        Self { lab, pony, target }
    }

    /// Checks that it says what is missing, and that it serves.
    #[track_caller]
    fn serves(&self, obstacle: &str, advice: &str) {
        let said = self.pony.message(NO_LANE);
        let reason = said["reason"].as_str().unwrap();
        assert!(reason.contains(advice), "{reason}");
        assert_eq!(said["level"], "warning", "{said}");
        for (_, port) in LISTENERS {
            self.flow(port);
        }
        wait_eq(LISTENERS.len(), || self.pony.events("close").len());
        for event in self.pony.events("close") {
            assert!(event["error"].is_null(), "{event}");
        }
        let about_it = self.pony.json().into_iter();
        let about_it = about_it.filter(|line| line["message"] == NO_LANE);
        assert_eq!(about_it.collect::<Vec<_>>(), [said], "it says so once");
        self.lab.client.enter(|| self.check_metrics(obstacle));
    }

    /// A conversation that becomes bulk, both ways: what begins in the copy lane and changes twice
    /// where all lanes are.
    #[track_caller]
    fn flow(&self, port: u16) {
        let proxy: SocketAddr = format!("{PROXY_V4}:{port}").parse().unwrap();
        let client = self.lab.client.enter(|| connect(proxy));
        let target = accept(&self.target);
        for turn in pattern(TURNS * TURN).chunks(TURN) {
            pass(&client, &target, turn);
            pass(&target, &client, turn);
        }
        let cargo = Cargo {
            seed: seed(),
            up: BULK,
            down: BULK,
        };
        std::thread::scope(|scope| {
            let at_target = scope.spawn(|| cargo.exchange(&target, false));
            assert_eq!(cargo.exchange(&client, true), whole(BULK));
            assert_eq!(at_target.join().unwrap(), whole(BULK));
        });
    }

    #[track_caller]
    fn check_metrics(&self, obstacle: &str) {
        let available = |lane: &str, reason: &str| {
            let labels = [format!("lane=\"{lane}\""), format!("reason=\"{reason}\"")];
            let value = self.pony.metric("packetpony_lane_available", &labels);
            value.to_string()
        };
        assert_eq!(available("sockmap", obstacle), "0");
        assert_eq!([available("copy", ""), available("splice", "")], ["1", "1"]);
        wait_until("the flows to be over", || {
            Proof::of(&self.pony).active() == 0
        });
        let each_way = (TURNS * TURN) as u64 + BULK;
        let moved = LISTENERS.len() as u64 * 2 * each_way;
        wait_eq([moved, 0], || {
            let proof = Proof::of(&self.pony);
            let others = ["copy", "splice"].map(|lane| proof.moved_in(lane));
            [others.iter().sum(), proof.moved_in("sockmap")]
        });
    }
}

/// Has the proxy's loopback lose every packet with more bytes than this.
fn drop_on_loopback(lab: &Lab, most: u32) {
    // Classic BPF: load the length, skip one if it is greater, return either.
    let program = format!("4,128 0 0 0,37 1 0 {most},6 0 0 {TC_ACT_UNSPEC},6 0 0 {TC_ACT_SHOT},");
    let lines = format!(
        "qdisc add dev lo clsact\n\
         filter add dev lo egress prio 1 bpf da bytecode \"{program}\"\n"
    );
    lab.proxy
        .enter(|| tools::run(&mut tools::command("tc -batch -"), &lines));
}

const LISTENERS: [(Lane, u16); 2] = [(Lane::Auto, 7000), (Lane::Sockmap, 7001)];
const NO_LANE: &str = "No sockmap lane: flows are spliced and copied";
const WITHOUT_CAPABILITIES: [&str; 3] = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
/// Enough to be taken for a conversation, and then for bulk.
const TURNS: usize = 50;
const TURN: usize = 100;
const BULK: u64 = 8 << 20;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
