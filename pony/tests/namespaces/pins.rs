//! What is pinned, and what `pony clients` makes of it.

use pony_common::layout::settings::Settings;
use serde_json::Value;

use crate::{
    harness::{
        Entry, Launch, Pony,
        peers::{connect, ping},
        wait_eq,
    },
    kernel::Mode,
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, tcp},
    servers,
};

const BASE: &str = "/sys/fs/bpf/packetpony";

#[test]
fn maps_and_programs_are_pinned_from_start_to_end() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&entry()).guard("require");
    let instance = launch.instance();
    let directory = format!("{BASE}/{instance}");
    let mut pony = lab.start(launch);

    let pinned = lab.mounts.run(&format!("ls {directory}"));
    let pinned: Vec<_> = pinned.lines().collect();
    for name in ["LEDGER", "LISTENERS", "READS", "STATS", "xdp_guard"] {
        assert!(pinned.contains(&name), "no {name} in {pinned:?}");
    }
    let modes = lab.mounts.run(&format!("stat -c %a {BASE} {directory}"));
    assert_eq!(modes, "700\n700\n");
    let program = lab.bpftool(&format!("prog show pinned {directory}/xdp_guard"));
    assert_eq!(program["name"], "xdp_guard");
    assert_eq!(program["id"], lab.program());

    pony.signal("TERM");
    assert_eq!(pony.wait().code(), Some(0));
    assert_eq!(lab.mounts.run(&format!("ls {BASE}")), "");
    lab.clients(&[]).expect(1, &["no pony", "pony run"]);
}

#[test]
fn what_a_killed_daemon_left_is_replaced_by_the_next_one() {
    let Some(lab) = Lab::new() else { return };
    let (mut killed, again) = lab.start_twice("");
    killed.signal("KILL");
    killed.wait();
    lab.clients(&[]).expect(0, &["does not run"]);
    let old = lab.map_id(&killed, "LEDGER");

    let next = lab.start(again);
    assert_ne!(lab.map_id(&next, "LEDGER"), old);
    let answer = lab.clients(&["--json"]).json();
    assert_eq!(answer["running"], true);
    drop(killed);
}

#[test]
fn a_second_daemon_of_the_same_name_says_so_and_leaves_the_first_ones_pins() {
    let Some(lab) = Lab::new() else { return };
    // In another network, so that both can have the ports and the interfaces.
    let (mut first, again) = lab.start_twice("");
    let ledger = lab.map_id(&first, "LEDGER");
    let second = lab
        .target
        .enter(|| again.inside(&lab.mounts.entrance()).start());
    let warning = second.message(WITHOUT);
    let reason = warning["reason"].as_str().unwrap();
    assert!(
        reason.contains("another pony with the server.name"),
        "{reason}"
    );
    assert_eq!(lab.map_id(&first, "LEDGER"), ledger);
    drop(second);
    assert_eq!(lab.map_id(&first, "LEDGER"), ledger);
    first.signal("TERM");
    first.wait();
    assert_eq!(lab.mounts.run(&format!("ls {BASE}")), "");
}

#[test]
fn without_the_right_to_mount_the_guard_works_without_pins() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&entry()).guard("require").through(&[
        "setpriv",
        "--bounding-set",
        "-sys_admin",
        "--inh-caps",
        "-sys_admin",
    ]);
    let pony = lab.start(launch);
    assert_eq!(lab.attached(), [Some(Mode::Native); 2]);
    let warning = pony.message(WITHOUT);
    let reason = warning["reason"].as_str().unwrap();
    assert!(reason.contains("mount -t bpf bpf /sys/fs/bpf"), "{reason}");
    lab.clients(&[]).expect(1, &["no pony"]);
}

#[test]
fn the_maps_of_another_version_are_not_misread() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&entry()).guard("require");
    let settings = format!("{BASE}/{}/SETTINGS", launch.instance());
    let _pony = lab.start(launch);
    let other = format!("99{}", " 0".repeat(size_of::<Settings>() - 1));
    lab.mounts.run(&format!(
        "bpftool map update pinned {settings} key 0 0 0 0 value {other}"
    ));
    lab.clients(&[]).expect(1, &["another version"]);
}

#[test]
fn clients_are_shown_as_the_kernel_counted_them() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);
    let limited =
        entry().with("rate_limits: { max_connection_attempts_per_ip: 50, attempts_window: 1h }");
    let launch = Launch::new(&limited).guard("require");
    let instance = launch.instance();
    let pony = lab.start(launch);
    let mut streams = Vec::new();
    for address in [PROXY_V4, PROXY_V4, PROXY_V6] {
        let address = format!("{address}:7000").parse().unwrap();
        let mut stream = lab.client.enter(|| connect(address));
        ping(&mut stream, b"0123456789");
        streams.push(stream);
    }

    let answer = || lab.clients(&["--json", "--instance", &instance]).json();
    // What goes back is counted on its way out.
    wait_eq(20, || answer()["clients"][0]["bytes_out"].as_u64().unwrap());
    let answer = answer();
    assert_eq!(answer["instance"], *instance);
    assert_eq!(answer["total_clients"], 2);
    let [v4, v6] = &answer["clients"].as_array().unwrap()[..] else {
        panic!("{answer}");
    };
    assert_eq!(v4["client"], "192.0.2.1");
    assert_eq!(v6["client"], "2001:db8:1::/64");
    for (client, connections) in [(v4, 2), (v6, 1)] {
        assert_eq!(client["listener"], "echo");
        assert_eq!(client["bytes_in"], 10 * connections);
        assert_eq!(client["bytes_out"], 10 * connections);
        assert_eq!(client["attempts"], connections);
        assert_eq!(client["window"]["unit"], "attempts");
        assert_eq!(client["window"]["used"], connections);
        assert_eq!(client["window"]["limit"], 50);
        assert_eq!(client["window"]["seconds"], 3600.0);
    }

    let by = ["--by", "attempts", "--listener", "echo", "--limit", "1"];
    lab.clients(&by).expect(
        0,
        &["192.0.2.1 ", "echo", "20 B", "2 of 50 in 3600s", "1 of 2"],
    );
    lab.clients(&["--listener", "nonesuch"])
        .expect(1, &["nonesuch", "there is echo"]);
    lab.clients(&["--instance", "nonesuch"])
        .expect(1, &["nonesuch", &instance]);
    drop(pony);
}

fn entry() -> Entry {
    tcp("echo", 7000, &format!("{TARGET_V4}:7"))
}

impl Lab {
    /// Starts a daemon, and prepares another one with its file.
    fn start_twice(&self, more: &str) -> (Pony, Launch) {
        let launch = Launch::new(&entry()).guard(&format!("require{more}"));
        let file = launch.folder().join("config.yaml").display().to_string();
        let again = Launch::new(&entry()).arguments(&["run", "-c", &file]);
        (self.start(launch), again)
    }

    /// The kernel's number of the map that a daemon has pinned under this name.
    #[track_caller]
    fn map_id(&self, pony: &Pony, name: &str) -> Value {
        let instance = pony.message("PacketPony starting")["server"].clone();
        let instance = instance.as_str().unwrap();
        self.bpftool(&format!("map show pinned {BASE}/{instance}/{name}"))["id"].clone()
    }
}

const WITHOUT: &str =
    "Kernel guard goes on without pins: bpftool and pony clients will not find it";
