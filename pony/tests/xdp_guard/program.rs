//! `xdp_guard` and `tc_egress` on fixtures: what is read, found and counted.

use std::{net::IpAddr, ops::Range};

use pony_common::{
    addr::Be16,
    layout::{
        listener::{ANY_V4, ANY_V6, ListenerKey, Transport},
        reads::NotOurs,
        stats::{SLOTS, Slot},
    },
};
use pony_ebpf::{
    cursor::Cursor,
    fixtures::{self, CLIENT_V4, rows},
    parse::{Parsed, parse},
};

use crate::{
    frames::Frame,
    guard::{Guard, SHORTEST, XDP_PASS},
    is_root,
    setup::Setup,
};

#[test]
fn passes_every_fixture_and_counts_it_as_what_it_is() {
    if !is_root() {
        return;
    }
    let setup = Setup::open();
    let guard = Guard::new(&setup);
    for row in rows() {
        if row.frame.len() < SHORTEST {
            continue;
        }
        let mut expected = guard.sums();
        match row.expected {
            Ok(Parsed::Packet(packet)) => {
                let of = |listener: &crate::setup::Listener| listener.key == packet.to;
                let listener = setup.listeners.iter().position(of).unwrap();
                let tally = &mut expected.stats[listener * SLOTS as usize];
                tally.packets += 1;
                tally.bytes += u64::from(packet.payload_len);
            }
            Ok(Parsed::NotOurs(why)) => expected.reads[why as usize] += 1,
            Err(why) => expected.reads[why as usize] += 1,
        }
        let run = guard.run(&row.frame);
        assert_eq!(run.action, XDP_PASS, "{}", row.name);
        assert_eq!(run.frame, row.frame, "{}", row.name);
        assert_eq!(guard.sums(), expected, "{}", row.name);
    }
}

#[test]
fn reads_every_part_of_every_fixture_as_the_host_does() {
    if !is_root() {
        return;
    }
    let guard = Guard::new(&Setup::of(&[]));
    for row in rows() {
        for len in lengths(&row.frame) {
            let frame = &row.frame[..len];
            let mut expected = guard.sums();
            let slot = match parse(&mut Cursor::from(frame), len.try_into().unwrap()) {
                Ok(Parsed::Packet(_)) => NotOurs::NoListener as usize,
                Ok(Parsed::NotOurs(why)) => why as usize,
                Err(why) => why as usize,
            };
            expected.reads[slot] += 1;
            assert_eq!(
                guard.run(frame).action,
                XDP_PASS,
                "{}, {len} bytes",
                row.name
            );
            assert_eq!(guard.sums(), expected, "{}, {len} bytes", row.name);
        }
    }
}

/// Every length that cuts a header.
fn lengths(frame: &[u8]) -> Range<usize> {
    SHORTEST..frame.len().clamp(SHORTEST, 300)
}

#[test]
fn counts_the_frame_that_is_in_several_buffers() {
    if !is_root() {
        return;
    }
    let guard = Guard::new(&Setup::open());
    let mut frame = rows().swap_remove(0).frame;
    frame.resize(14 + 20 + 20 + 30_000, 7);
    let total_len = u16::try_from(frame.len() - 14).unwrap().to_be_bytes();
    frame[16..18].copy_from_slice(&total_len);
    assert_eq!(guard.run(&frame).action, XDP_PASS);
    let tally = guard.sums().stats[Slot::Pass.index(0) as usize];
    assert_eq!((tally.packets, tally.bytes), (1, 30_000));
}

#[test]
fn finds_the_exact_listener_first_and_then_that_on_all_addresses() {
    if !is_root() {
        return;
    }
    let tcp = |addr| ListenerKey::new(Transport::Tcp, addr, Be16::from_host(fixtures::TCP_PORT));
    let (v4, v6) = (fixtures::TCP_V4, fixtures::TCP_V6);
    let (any_v4, any_v6) = (tcp(ANY_V4), tcp(ANY_V6));
    let [frame_v4, frame_v6] = [0, 2].map(|row| rows().swap_remove(row).frame);
    let client = [CLIENT_V4, [203, 0, 113, 9]].map(IpAddr::from);
    let elsewhere = Frame(frame_v4.clone()).between(client[0], client[1]).0;

    for (name, listeners, frame, found) in [
        (
            "exact before wildcard",
            vec![any_v4, v4],
            &frame_v4,
            Some(1),
        ),
        ("wildcard", vec![any_v4], &frame_v4, Some(0)),
        (
            "not the other family's wildcard",
            vec![any_v6],
            &frame_v4,
            None,
        ),
        (
            "exact before wildcard, IPv6",
            vec![v6, any_v6],
            &frame_v6,
            Some(0),
        ),
        ("wildcard of IPv6", vec![v4, any_v6], &frame_v6, Some(1)),
        ("not the wildcard of IPv4", vec![any_v4], &frame_v6, None),
        (
            "not the other protocol",
            vec![fixtures::UDP_V4],
            &frame_v4,
            None,
        ),
        ("none", vec![], &frame_v4, None),
        (
            "not the wildcard for another's address",
            vec![any_v4],
            &elsewhere,
            None,
        ),
    ] {
        let guard = Guard::new(&Setup::of(&listeners));
        guard.run(frame);
        let counts = guard.sums();
        let passed = |number: &usize| counts.stats[number * SLOTS as usize].packets > 0;
        let hit: Vec<_> = (0..listeners.len()).filter(passed).collect();
        assert_eq!(hit, Vec::from_iter(found), "{name}");
        let missed = counts.reads[NotOurs::NoListener as usize];
        assert_eq!(missed, u64::from(found.is_none()), "{name}");
    }
}
