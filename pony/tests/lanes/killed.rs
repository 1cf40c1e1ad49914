//! Targets that stand still or are killed, and a daemon that is killed, in the middle of flows.

use std::{
    collections::BTreeSet,
    fs,
    net::{Shutdown, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    dice::seed,
    harness::{
        Pony,
        peers::{accept, connect, join, tcp_listener},
        wait_until,
    },
    lane::Lane,
    leftovers::Leftovers,
    peer::{Cargo, Peer, Received, receive, send_part, whole},
    proof::Proof,
};

in_every_lane!(
    shared: a_target_that_stands_still_in_the_middle_and_goes_on_has_every_byte,
    a_target_that_is_killed_in_the_middle_ends_the_client_after_a_beginning,
    a_daemon_that_is_killed_in_the_middle_ends_both_sides_and_leaves_nothing,
);

fn a_target_that_stands_still_in_the_middle_and_goes_on_has_every_byte(lane: Lane) {
    let cargo = Cargo {
        seed: seed(),
        up: PARTS * PART,
        down: 20 << 20,
    };
    let mut target = Peer::start(cargo);
    let pony = lane.launch(&lane.listener(target.address, "")).start();
    let before = Proof::of(&pony);
    let client = connect(pony.address("tcp"));
    let sent = || pony.bytes("tcp", "sent");
    thread::scope(|scope| {
        let received = scope.spawn(|| receive(&client, cargo.content_down()));
        for part in 0..PARTS {
            let (begin, end) = (part * PART, (part + 1) * PART);
            let stands_still_first = part % 2 == 0;
            if stands_still_first {
                target.signal("STOP");
            }
            let client = &client;
            let sender = scope.spawn(move || send_part(client, cargo.content_up(), begin..end));
            wait_until("the flow to be under way", || sent() > begin);
            target.signal("STOP");
            let stalled = pony.bytes_when_stalled("tcp", "sent");
            assert!(
                !stands_still_first || stalled < end,
                "all {stalled} bytes were taken"
            );
            target.signal("CONT");
            sender.join().unwrap().unwrap();
            wait_until("the part to be through", || sent() == end);
        }
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(target.received(), whole(cargo.up));
        assert_eq!(received.join().unwrap(), whole(cargo.down));
    });
    let close = pony.closes_with("");
    let counted = [&close["bytes_sent"], &close["bytes_received"]];
    assert_eq!(counted, [cargo.up, cargo.down]);
    Proof::check(&pony, &before, lane, cargo.up + cargo.down);
}

fn a_target_that_is_killed_in_the_middle_ends_the_client_after_a_beginning(lane: Lane) {
    let cargo = endless();
    let target = Peer::start(cargo);
    let pony = lane.launch(&lane.listener(target.address, "")).start();
    let client = exchange(cargo, connect(pony.address("tcp")));
    is_under_way(&pony);
    target.signal("KILL");
    let killed = Instant::now();
    let received = join(client);
    assert!(
        killed.elapsed() < PROMPT,
        "the client heard of it after {:?}",
        killed.elapsed()
    );
    // It had something to read, so its end is a reset, of which the client hears.
    assert!(
        received.error.is_some() && received.bytes < cargo.down,
        "{received:?}"
    );
    pony.closes_with("target: ");
    wait_until("the gauge to be 0", || pony.active("tcp") == 0);
}

fn a_daemon_that_is_killed_in_the_middle_ends_both_sides_and_leaves_nothing(lane: Lane) {
    let (listener, address) = tcp_listener();
    let launch = lane.launch(&lane.listener(address, ""));
    let pins = format!("/sys/fs/bpf/packetpony/{}", launch.instance());
    let mut pony = launch.start();
    let before = Leftovers::before(&pony, lane);
    let mut sides = Vec::new();
    for number in 0..FLOWS {
        let cargo = Cargo {
            seed: number,
            ..endless()
        };
        sides.push(exchange(cargo, connect(pony.address("tcp"))));
        let target = accept(&listener);
        sides.push(thread::spawn(move || cargo.exchange(&target, false)));
    }
    is_under_way(&pony);
    let objects = KernelObjects::of(&pony);
    pony.signal("KILL");
    pony.wait();
    for side in sides {
        let received = join(side);
        assert!(received.bytes < endless().down, "{received:?}");
    }
    before.check_machine();
    wait_until("the kernel's programs and maps to be gone", || {
        objects.are_gone()
    });
    assert!(!Path::new(&pins).exists(), "{pins} is there");
}

/// More than anybody sends before it ends.
fn endless() -> Cargo {
    Cargo {
        seed: seed(),
        up: 1 << 40,
        down: 1 << 40,
    }
}

fn exchange(cargo: Cargo, client: TcpStream) -> thread::JoinHandle<Received> {
    thread::spawn(move || cargo.exchange(&client, true))
}

#[track_caller]
fn is_under_way(pony: &Pony) {
    wait_until("bytes to flow both ways", || {
        ["sent", "received"]
            .iter()
            .all(|way| pony.bytes("tcp", way) > 1 << 20)
    });
}

/// What a process holds of BPF.
struct KernelObjects(BTreeSet<(&'static str, String)>);

impl KernelObjects {
    fn of(pony: &Pony) -> Self {
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", pony.id())).unwrap();
        let infos = infos.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
        let objects = infos.flat_map(|info| {
            let number = |(kind, name)| {
                let line = info.lines().find_map(|line| line.strip_prefix(name))?;
                Some((kind, line.trim().to_owned()))
            };
            let kinds = [
                ("map", "map_id:"),
                ("prog", "prog_id:"),
                ("link", "link_id:"),
            ];
            kinds.into_iter().filter_map(number).collect::<Vec<_>>()
        });
        Self(objects.collect())
    }

    fn are_gone(&self) -> bool {
        self.0.iter().all(|(kind, id)| {
            let mut show = Command::new("bpftool");
            show.args([kind, "show", "id", id]);
            let status = show.stdout(Stdio::null()).stderr(Stdio::null()).status();
            !status.unwrap().success()
        })
    }
}

const FLOWS: u64 = 16;
const PARTS: u64 = 4;
/// More than all buffers on the way to a target that does not read.
const PART: u64 = 48 << 20;
/// Much less than any timeout.
const PROMPT: Duration = Duration::from_secs(5);
