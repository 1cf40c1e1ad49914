//! Running out of file descriptors, and coming back.

use std::io::{Read as _, Write as _};

use crate::harness::{
    Entry, Launch,
    peers::{
        closed_port, connect, echo_target, expect_closed, ping, ping_udp, udp_client,
        udp_echo_target,
    },
    wait_eq, wait_until,
};

#[test]
fn accepting_goes_on_after_the_process_ran_out_of_descriptors() {
    let limit = "ulimit -n 64 && exec \"$@\"";
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .through(&["sh", "-c", limit, "sh"])
        .start();
    let address = pony.address("tcp");
    let crowd: Vec<_> = (0..80).map(|_| connect(address)).collect();

    // At most one line a second, and it says how many it stands for.
    pony.message("Accept error");
    let second = pony.nth_message("Accept error", 1);
    assert!(second["suppressed"].as_u64().unwrap() > 0, "{second}");

    drop(crowd);
    // A client that comes before the last of them is gone may find no descriptor for its target.
    wait_until("a client to be served", || {
        let mut client = connect(address);
        client.write_all(b"?").is_ok() && client.read_exact(&mut [0]).is_ok()
    });
    assert!(pony.errors("tcp", "accept") > 2);
    wait_eq(0, || pony.active("tcp"));
}

#[test]
fn neither_connections_nor_sessions_nor_refusals_leave_descriptors_behind() {
    let pony = Launch::new(&Entry::tcp(echo_target()))
        .and(&Entry::tcp(closed_port()).name("refused"))
        .and(&Entry::udp(udp_echo_target()).with("udp: { session_timeout: 100ms }"))
        .and(
            &Entry::udp(udp_echo_target())
                .name("full")
                .limits("max_total_connections: 1"),
        )
        .start();
    let open = || pony.metric("process_open_fds", &[]);
    let come_and_go = || {
        for _ in 0..100 {
            ping(&mut connect(pony.address("tcp")), b"hello");
            expect_closed(&connect(pony.address("refused")));
            ping_udp(&udp_client(pony.address("udp")), b"hello");
            udp_client(pony.address("full")).send(b"refused").unwrap();
        }
    };
    ping_udp(&udp_client(pony.address("full")), b"the only place");
    // Every thread keeps some pipes for the flows that come next.
    come_and_go();
    wait_eq(100, || pony.drops("full", "total_limit"));
    wait_eq(0, || pony.active("tcp"));
    let before = open();
    come_and_go();
    wait_eq(200, || pony.drops("full", "total_limit"));
    wait_until("the descriptors to be closed", || open() <= before);
}
