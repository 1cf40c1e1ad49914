//! Notifications, lost ones too.

use std::time::Duration;

use super::*;
use crate::kernel::lab;

#[tokio::test]
async fn says_which_interfaces_are_gone_and_nothing_when_nothing_is() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let mut monitor = Monitor::new().unwrap();
    assert!(monitor.changes().now_or_never().is_none());
    lab::run("ip link add a0 type veth peer b0");
    assert_eq!(monitor.changes().await.unwrap(), Changes::default());

    let gone = [lab::interface("a0").await, lab::interface("b0").await];
    lab::run("ip link del a0");
    let mut changes = monitor.changes().await.unwrap();
    assert_eq!(changes.gone, HashSet::from(gone.map(|gone| gone.index)));
    monitor.take_rest(&mut changes).unwrap();
    assert!(monitor.changes().now_or_never().is_none());
}

#[tokio::test]
async fn an_interface_that_leaves_a_bridge_is_not_gone() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    for line in [
        "ip link add br0 type bridge",
        "ip link add a0 type veth peer b0",
        "ip link set a0 master br0",
    ] {
        lab::run(line);
    }
    let mut monitor = Monitor::new().unwrap();
    lab::run("ip link set a0 nomaster");
    assert_eq!(monitor.changes().await.unwrap(), Changes::default());
}

#[tokio::test]
async fn more_changes_than_there_is_room_for_are_still_a_change() {
    let Some(_namespace) = lab::namespace() else {
        return;
    };
    let mut monitor = Monitor::new().unwrap();
    monitor.0.socket_ref().set_rx_buf_sz(1_i32).unwrap();
    let mut all = HashSet::new();
    for _ in 0..20 {
        lab::run("ip link add a0 type veth peer b0");
        for name in ["a0", "b0"] {
            all.insert(lab::interface(name).await.index);
        }
        lab::run("ip link del a0");
    }
    let changes = monitor.changes().await.unwrap();
    assert!(changes.gone.len() < all.len(), "some must have been lost");
    assert!(changes.gone.is_subset(&all));
    // And it still works.
    lab::run("ip link add a0 type veth peer b0");
    let next = tokio::time::timeout(Duration::from_secs(10), monitor.changes()).await;
    next.unwrap().unwrap();
}

#[test]
fn a_datagram_that_lies_about_its_lengths_ends_there() {
    let message = |len: u32, rest: &[u8]| {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(libc::RTM_DELLINK.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(rest);
        bytes
    };
    let gone = |bytes: &[u8]| messages(bytes).filter_map(gone_link).collect::<Vec<_>>();
    let link = [0, 0, 0, 0, 7, 0, 0, 0];
    let mut good = message(24, &link);
    assert_eq!(gone(&good), [7]);
    good.extend(message(24, &link));
    assert_eq!(gone(&good), [7, 7]);
    for bad in [message(0, &link), message(15, &link), message(99, &link)] {
        assert!(gone(&bad).is_empty(), "{bad:?}");
    }
    assert!(gone(&message(20, &link[..4])).is_empty());
    assert!(gone(&[]).is_empty());
}
