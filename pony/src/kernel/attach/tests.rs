//! What is said when an interface refuses the guard.

use super::*;

fn reason(errno: i32) -> String {
    let interface = Interface::for_test("eth7");
    Failure::for_test(errno).into_error(&interface).to_string()
}

#[test]
fn a_refusal_names_the_interface_the_cause_and_the_remedy() {
    for (errno, words) in [
        (
            libc::EBUSY,
            ["another XDP program", "ip link set dev eth7 xdp off"],
        ),
        (
            libc::EEXIST,
            ["another XDP program", "bpftool net show dev eth7"],
        ),
        (libc::EOPNOTSUPP, ["driver cannot run XDP", "eth7"]),
        (libc::EINVAL, ["MTU", "ethtool -K eth7 lro off"]),
        (libc::ENODEV, ["gone", "eth7"]),
        (libc::EPERM, ["CAP_NET_ADMIN", "eth7"]),
        (libc::ENOMEM, ["what the kernel said", "eth7"]),
    ] {
        let text = reason(errno);
        for word in words {
            assert!(text.contains(word), "{errno}: {text}");
        }
    }
}
