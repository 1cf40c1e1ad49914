//! Both ways to attach, in the real kernel.

use std::{mem, net::UdpSocket};

use aya::{
    Ebpf,
    programs::ProgramInfo,
    sys::{Stats, enable_stats},
};

use super::*;
use crate::kernel::{OBJECT, lab, object};

/// An interface from which nothing leaves but what it is given.
const SETUP: [&str; 6] = [
    "ip link add a0 type veth peer b0",
    "ip link set a0 addrgenmode none",
    "ip addr add 192.0.2.1/24 dev a0",
    "ip link set a0 up",
    "ip link set b0 up",
    "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev a0",
];

/// The loaded object, and the interface.
struct Lab {
    ebpf: Ebpf,
    interface: Interface,
}

impl Lab {
    async fn new() -> Self {
        for line in SETUP {
            lab::run(line);
        }
        Self::load().await
    }

    async fn load() -> Self {
        let mut ebpf = Ebpf::load(OBJECT.expect("`cargo xtask build-ebpf` made it")).unwrap();
        object::tc_egress(&mut ebpf).unwrap().load().unwrap();
        let interface = lab::interface("a0").await;
        Self { ebpf, interface }
    }

    fn program(&mut self) -> &mut SchedClassifier {
        object::tc_egress(&mut self.ebpf).unwrap()
    }

    fn attach_clsact(&mut self) -> Egress {
        let interface = self.interface.clone();
        attach_clsact(self.program(), &interface).unwrap()
    }

    /// How often the program runs while a packet leaves.
    fn runs(&mut self) -> u64 {
        let program = self.program();
        let run_count =
            |program: &SchedClassifier| ProgramInfo::run_count(&program.info().unwrap());
        let before = run_count(program);
        let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
        socket.send_to(b"x", "192.0.2.2:9").unwrap();
        run_count(program) - before
    }
}

fn filters() -> usize {
    let shown = lab::run("tc filter show dev a0 egress");
    shown.matches("direct-action").count()
}

fn has_clsact() -> bool {
    lab::run("tc qdisc show dev a0").contains("clsact")
}

#[tokio::test]
async fn sees_what_leaves_by_tcx() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let _counted = enable_stats(Stats::RunTime).unwrap();
    let mut lab = Lab::new().await;
    let program = object::tc_egress(&mut lab.ebpf).unwrap();
    let egress = attach(program, &lab.interface).unwrap();
    assert_eq!(lab.runs(), 1);
    assert!(!has_clsact(), "this kernel has tcx");
    drop(egress);
    assert_eq!(lab.runs(), 0);
}

#[tokio::test]
async fn sees_what_leaves_by_clsact_and_takes_away_its_qdisc() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let _counted = enable_stats(Stats::RunTime).unwrap();
    let mut lab = Lab::new().await;
    let egress = lab.attach_clsact();
    assert_eq!(lab.runs(), 1);
    assert!(has_clsact());
    drop(egress);
    assert_eq!(lab.runs(), 0);
    assert!(!has_clsact());
}

#[tokio::test]
async fn leaves_a_qdisc_that_others_use_or_made() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let mut lab = Lab::new().await;
    lab::run("tc qdisc add dev a0 clsact");
    drop(lab.attach_clsact());
    assert!(has_clsact(), "it was there before");
    lab::run("tc qdisc del dev a0 clsact");

    let mut other = Lab::load().await;
    for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
        let egress = lab.attach_clsact();
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let others = other
            .program()
            .attach_with_options("a0", direction, options)
            .unwrap();
        drop(egress);
        assert!(has_clsact(), "somebody's filter is in it");
        let left = usize::from(direction == TcAttachType::Egress);
        assert_eq!(filters(), left, "but not ours");
        other.program().detach(others).unwrap();
        lab::run("tc qdisc del dev a0 clsact");
    }
}

#[tokio::test]
async fn replaces_the_filter_of_a_daemon_that_was_killed() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let _counted = enable_stats(Stats::RunTime).unwrap();
    let mut lab = Lab::new().await;
    mem::forget(lab.attach_clsact());
    assert_eq!(filters(), 1);
    let egress = lab.attach_clsact();
    assert_eq!(filters(), 1);
    assert_eq!(lab.runs(), 1);
    drop(egress);
    assert!(!has_clsact());
}

#[test]
fn only_a_kernel_that_does_not_know_tcx_is_asked_for_the_older_way() {
    let is_unknown = |errno| is_unknown(&Failure::for_test(errno));
    assert!(is_unknown(libc::EINVAL) && is_unknown(libc::EOPNOTSUPP));
    assert!(!is_unknown(libc::EPERM) && !is_unknown(libc::ENODEV));
}
