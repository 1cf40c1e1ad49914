use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use pony_common::{
    layout::policy::{Listener, Standing},
    limit::Action,
};
use proptest::prelude::*;

use super::*;
use crate::config::IpNet;

const RULE: Rule = Rule {
    reset: false,
    action: Action::Drop,
    ipv6_prefix: 64,
    attempts: AttemptLimit {
        max: 5,
        window: Nanos::from_secs(1),
    },
    bandwidth: BandwidthLimit {
        limit: 0,
        window: Nanos::ZERO,
        action: Action::Drop,
        throttle_minimum: 0,
    },
};

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn access(allow: &[&str], deny: &[&str], exempt: &[&str]) -> Access {
    Access {
        allow: nets(allow),
        deny: nets(deny),
        exempt: nets(exempt),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An image and how to ask it.
struct Image(Vec<Row>);

impl Image {
    fn new(lists: &[Access]) -> Self {
        let listeners: Vec<_> = lists
            .iter()
            .map(|access| ListenerPolicy { access, rule: RULE })
            .collect();
        Self(build(7, &listeners).unwrap())
    }

    fn standing(&self, number: u32, addr: IpAddr) -> Standing {
        let rows = &self.0[..];
        let listener = Listener::read(rows, number).unwrap();
        listener.standing(rows, number, addr.into())
    }
}

/// What the lists say, as one would write it without caring for time.
fn naive(access: &Access, addr: IpAddr) -> Standing {
    let is_in = |list: &[IpNet]| list.iter().any(|net| net.contains(&addr));
    if is_in(&access.deny) || !is_in(&access.allow) {
        Standing::Denied
    } else if is_in(&access.exempt) {
        Standing::Exempt
    } else {
        Standing::Limited
    }
}

/// Addresses that a prefix may be decided wrongly for: its ends and what is next to them.
fn ends_of(net: &IpNet) -> Vec<IpAddr> {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let ends = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
            ends.map(|bits| Ipv4Addr::from_bits(bits).into()).into()
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            let ends = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
            ends.map(|bits| Ipv6Addr::from_bits(bits).into()).into()
        }
    }
}

fn check(lists: &[Access], others: &[IpAddr]) {
    let image = Image::new(lists);
    let all = lists
        .iter()
        .flat_map(|list| list.allow.iter().chain(&list.deny).chain(&list.exempt));
    let extremes = [
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];
    let asked = all
        .flat_map(ends_of)
        .chain(others.iter().copied())
        .chain(extremes.map(ip));
    for addr in asked {
        // A mapped address is an IPv4 address wherever a client's address is looked at.
        let addr = addr.to_canonical();
        for (listener, list) in (0..).zip(lists) {
            assert_eq!(
                image.standing(listener, addr),
                naive(list, addr),
                "{addr} on {listener}"
            );
        }
    }
}

#[test]
fn decides_by_the_lists() {
    let image = Image::new(&[
        access(
            &["0.0.0.0/0", "::/0"],
            &["192.0.2.0/24"],
            &["198.51.100.7/32"],
        ),
        access(
            &["2001:db8::/32"],
            &["2001:db8:0:1::/64"],
            &["2001:db8::1/128"],
        ),
        access(&[], &[], &["0.0.0.0/0"]),
    ]);
    for (addr, standings) in [
        ("192.0.1.255", [1, 0, 0]),
        ("192.0.2.0", [0, 0, 0]),
        ("192.0.2.255", [0, 0, 0]),
        ("192.0.3.0", [1, 0, 0]),
        ("198.51.100.7", [2, 0, 0]),
        ("198.51.100.8", [1, 0, 0]),
        ("::ffff:192.0.2.1", [0, 0, 0]),
        ("::ffff:198.51.100.7", [2, 0, 0]),
        ("2001:db8::1", [1, 2, 0]),
        ("2001:db8::2", [1, 1, 0]),
        ("2001:db8:0:1::2", [1, 0, 0]),
        ("2001:db8:0:2::", [1, 1, 0]),
        ("2001:db9::", [1, 0, 0]),
        ("::", [1, 0, 0]),
    ] {
        let found = [0, 1, 2].map(|listener| image.standing(listener, ip(addr)) as u8);
        assert_eq!(found, standings, "{addr}");
    }
    assert!(
        Listener::read(&image.0[..], 3).is_none(),
        "no such listener"
    );
}

#[test]
fn carries_the_rules() {
    let access = access(&["0.0.0.0/0"], &[], &[]);
    let other = Rule {
        reset: true,
        ipv6_prefix: 48,
        ..RULE
    };
    let listeners = [RULE, other].map(|rule| ListenerPolicy {
        access: &access,
        rule,
    });
    let rows = build(u64::MAX, &listeners).unwrap();
    let header = Header::read(&rows[..]).unwrap();
    assert_eq!((header.generation, header.listeners), (u64::MAX, 2));
    let listener = |number| Listener::read(&rows[..], number);
    assert_eq!(listener(0).unwrap().rule(), RULE);
    assert_eq!(listener(1).unwrap().rule(), other);
    assert_eq!(listener(1).unwrap().generation(), u64::MAX);
    assert!(listener(2).is_none());
}

#[test]
fn an_image_without_listeners_is_an_image() {
    let rows = build(1, &[]).unwrap();
    let header = Header::read(&rows[..]).unwrap();
    assert_eq!(header.listeners, 0);
    assert!(Listener::read(&rows[..], 0).is_none());
}

/// Seventeen lists that tell so many addresses apart, each a kind of its own.
fn kinds(count: u32) -> Vec<Access> {
    (0..17)
        .map(|bit| {
            let members = (0..count).filter(|n| n >> bit & 1 != 0);
            let allow = members.map(|n| IpNet::V4(Ipv4Net::from(Ipv4Addr::from_bits(n << 1))));
            Access {
                allow: allow.collect(),
                ..Access::default()
            }
        })
        .collect()
}

#[test]
fn more_kinds_of_clients_than_a_listeners_row_has_room_for_are_told_apart() {
    for count in [31, 32, 33, 100, 1_000] {
        check(&kinds(count), &[]);
    }
}

#[test]
fn too_many_kinds_of_clients_are_an_error_and_one_less_is_not() {
    let build = |lists: &[Access]| {
        let listeners: Vec<_> = lists
            .iter()
            .map(|access| ListenerPolicy { access, rule: RULE })
            .collect();
        build(1, &listeners).map(|rows| rows.len())
    };
    assert!(build(&kinds(1 << 16)).is_ok());
    assert_eq!(build(&kinds((1 << 16) + 1)), Err(TooComplex::Classes));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut rows = vec![Row::default()];
    assert_eq!(grow(&mut rows, MAX_ROWS), Err(TooComplex::Size));
    assert_eq!(grow(&mut rows, MAX_ROWS - 1), Ok(()));
    assert_eq!(next_row(&rows), Err(TooComplex::Size));
    assert_eq!(
        TooComplex::Size.to_string(),
        "the access lists take more than 256 MiB as a table"
    );
}

#[test]
fn leaves_sections_and_trees_of_every_size_lead_to_the_right_class() {
    // Every second address of a /16: 65,536 ranges below one place.
    let every_second = (0..1_u32 << 15)
        .map(|n| IpNet::V4(Ipv4Net::from(Ipv4Addr::from_bits(0xc633_0000 | n << 1))));
    let v4 = Access {
        allow: every_second.collect(),
        ..Access::default()
    };
    let image = Image::new(std::slice::from_ref(&v4));
    for bits in 0xc632_ff00..0xc634_0100_u32 {
        let wanted = bits >> 16 == 0xc633 && bits % 2 == 0;
        let found = image.standing(0, Ipv4Addr::from_bits(bits).into());
        assert_eq!(found != Standing::Denied, wanted, "{bits:x}");
    }
    // Leaves and sections of every kind and size: so many addresses in one place, near to each
    // other or far, of one class among those of another or of three in turns.
    for (count, step) in [1, 7, 8, 15, 16, 30, 31, 61, 62, 128, 1_000]
        .into_iter()
        .flat_map(|count| [1, 2, 3, 17, 64, 1_000].map(|step| (count, step)))
    {
        let base = 0xc633_4321_u32;
        let host = |n| IpNet::V4(Ipv4Net::from(Ipv4Addr::from_bits(base + n * step)));
        let list = |wanted: fn(u32) -> bool| Access {
            allow: (0..count).filter(|n| wanted(*n)).map(host).collect(),
            ..Access::default()
        };
        check(&[list(|_| true)], &[]);
        check(&[list(|n| n % 3 == 0), list(|n| n % 2 == 0)], &[]);
    }
    // Sizes around those at which a tree becomes higher, in the upper and in the lower half.
    for count in [1, 2, 3, 4, 23, 24, 25, 191, 192, 193, 1_535, 1_537] {
        for shift in [1, 65] {
            let addr = |n: u128| Ipv6Addr::from_bits((n << shift) + (1 << 127));
            let len = if shift == 1 { 128 } else { 64 };
            let prefixes = (0..count).map(|n| Ipv6Net::new(addr(n), len).unwrap().into());
            let list = Access {
                allow: prefixes.collect(),
                ..Access::default()
            };
            check(&[list], &[]);
        }
    }
}

fn any_v4() -> impl Strategy<Value = IpNet> {
    let addr = prop_oneof![
        any::<u32>(),
        // Clustered in a few places, so that prefixes overlap and share upper halves.
        (0..3_u32, 0..600_u32)
            .prop_map(|(place, n)| [0, 0xc000_0200, 0xffff_fe00][place as usize] + n.min(0x1ff)),
    ];
    let len = prop_oneof![3 => 20..=32_u8, 1 => 0..=32_u8, 1 => Just(32)];
    (addr, len).prop_map(|(addr, len)| Ipv4Net::new(addr.into(), len).unwrap().trunc().into())
}

fn any_v6() -> impl Strategy<Value = IpNet> {
    let addr = prop_oneof![
        any::<u128>(),
        (0..5_usize, 0..64_u128, 0..64_u128).prop_map(|(place, upper, lower)| {
            let bases = [
                0,
                0xffff << 32,
                0x2001_0db8 << 96,
                u128::MAX - (63 << 64) - 63,
                u128::from(u64::MAX) - 63,
            ];
            bases[place] + (upper << 64) + lower
        }),
    ];
    let len = prop_oneof![2 => 56..=72_u8, 2 => 118..=128_u8, 1 => 0..=128_u8, 1 => Just(64), 1 => Just(128)];
    (addr, len).prop_map(|(addr, len)| Ipv6Net::new(addr.into(), len).unwrap().trunc().into())
}

fn any_list() -> impl Strategy<Value = Vec<IpNet>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![any_v4(), any_v6()], 0..60),
        Just(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn says_what_the_lists_say(
        lists in prop::collection::vec((any_list(), any_list(), any_list()), 1..4),
        addrs in prop::collection::vec(prop_oneof![any_v4(), any_v6()], 0..20),
    ) {
        let lists: Vec<_> = lists
            .into_iter()
            .map(|(allow, deny, exempt)| Access { allow, deny, exempt })
            .collect();
        let addrs: Vec<_> = addrs.iter().map(IpNet::addr).collect();
        check(&lists, &addrs);
    }
}

#[test]
fn long_lists_take_little_room() {
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(state >> 32).unwrap()
    };
    let hosts: Vec<u32> = (0..100_000).map(|_| random()).collect();
    let v4 = hosts
        .iter()
        .map(|bits| IpNet::V4(Ipv4Addr::from_bits(*bits).into()));
    let v6 = hosts.iter().map(|bits| {
        let site = Ipv6Addr::from_bits(u128::from(*bits) << 80);
        IpNet::V6(Ipv6Net::new(site, 48).unwrap())
    });
    let (v4, v6): (Vec<_>, Vec<_>) = (v4.collect(), v6.collect());
    for allow in [v4, v6] {
        let access = Access {
            allow,
            ..Access::default()
        };
        let rule = RULE;
        let rows = build(
            1,
            &[ListenerPolicy {
                access: &access,
                rule,
            }],
        )
        .unwrap();
        let bytes = rows.len() * size_of::<Row>();
        assert!(bytes / 100_000 <= 48, "{bytes} bytes");
    }
}
