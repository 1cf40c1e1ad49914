use std::time::Instant;

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Allowed, denied, exempt, who asks, what is answered.
type Row = (Texts, Texts, Texts, &'static str, Option<Standing>);
type Texts = &'static [&'static str];

#[test]
fn decides_by_the_lists() {
    use Standing::{Exempt, Limited};
    let everything: Texts = &["0.0.0.0/0", "::/0"];
    let rows: &[Row] = &[
        (&[], &[], &[], "192.0.2.1", None),
        (&[], &[], &["192.0.2.1/32"], "192.0.2.1", None),
        (&["192.0.2.0/24"], &[], &[], "192.0.2.0", Some(Limited)),
        (&["192.0.2.0/24"], &[], &[], "192.0.2.255", Some(Limited)),
        (&["192.0.2.0/24"], &[], &[], "192.0.3.0", None),
        (&["192.0.2.0/24"], &[], &[], "192.0.1.255", None),
        (&["192.0.2.7/32"], &[], &[], "192.0.2.7", Some(Limited)),
        (&["0.0.0.0/0"], &[], &[], "255.255.255.255", Some(Limited)),
        (&["0.0.0.0/0"], &[], &[], "2001:db8::1", None),
        (&["::/0"], &[], &[], "192.0.2.1", None),
        (
            &["2001:db8::/32"],
            &[],
            &[],
            "2001:db8:ffff::1",
            Some(Limited),
        ),
        (everything, &["192.0.2.1/32"], &[], "192.0.2.1", None),
        (
            everything,
            &["192.0.2.0/24"],
            &["192.0.2.1/32"],
            "192.0.2.1",
            None,
        ),
        (&["192.0.2.1/32"], &["192.0.0.0/8"], &[], "192.0.2.1", None),
        (
            everything,
            &["192.0.2.1/32"],
            &[],
            "192.0.2.2",
            Some(Limited),
        ),
        (
            everything,
            &[],
            &["192.0.2.1/32"],
            "192.0.2.1",
            Some(Exempt),
        ),
        (&["10.0.0.0/8"], &[], &["192.0.2.1/32"], "192.0.2.1", None),
    ];
    for &(allow, deny, exempt, client, expected) in rows {
        let list = AccessList::new(&Access {
            allow: nets(allow),
            deny: nets(deny),
            exempt: nets(exempt),
        });
        let row = format!("allow {allow:?}, deny {deny:?}, exempt {exempt:?}: {client}");
        assert_eq!(list.standing(ip(client)), expected, "{row}");
    }
}

#[test]
fn a_million_prefixes_are_searched_in_little_time() {
    let every_second: Vec<IpNet> = (0..1_000_000_u32)
        .map(|n| Ipv4Net::new(Ipv4Addr::from(n << 9), 24).unwrap().into())
        .collect();
    let list = Nets::new(&every_second);
    assert_eq!(list.v4.0.len(), 1_000_000);

    let begun = Instant::now();
    for n in 0..1_000_000_u32 {
        let last_bits = n.wrapping_mul(2_654_435_761) >> 24;
        assert!(list.contains(Ipv4Addr::from(n << 9 | last_bits & 0xff).into()));
        assert!(!list.contains(Ipv4Addr::from(n << 9 | 0x100 | last_bits & 0xff).into()));
    }
    let took = begun.elapsed();
    assert!(took.as_secs() < 20, "2 million questions took {took:?}");
}

fn any_net() -> impl Strategy<Value = IpNet> {
    // Few distinct addresses, so that prefixes meet and overlap.
    let v4 = (any::<u16>(), 16..=32_u8).prop_map(|(low, bits)| {
        let ip = Ipv4Addr::from(0x0a00_0000 | u32::from(low));
        Ipv4Net::new(ip, bits).unwrap().trunc().into()
    });
    let v6 = (any::<u8>(), 112..=128_u8).prop_map(|(low, bits)| {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low.into());
        Ipv6Net::new(ip, bits).unwrap().trunc().into()
    });
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn contains_what_any_of_its_prefixes_contains(
        nets in prop::collection::vec(any_net(), 0..40),
        lows: Vec<u16>,
    ) {
        let set = Nets::new(&nets);
        let edges = nets.iter().flat_map(|net| [net.network(), net.broadcast()]);
        let others = lows.into_iter().flat_map(|low| [
            Ipv4Addr::from(0x0a00_0000 | u32::from(low)).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, low).into(),
        ]);
        for ip in edges.chain(others) {
            let expected = nets.iter().any(|net| net.contains(&ip));
            prop_assert_eq!(set.contains(ip), expected, "{}", ip);
        }
    }
}
