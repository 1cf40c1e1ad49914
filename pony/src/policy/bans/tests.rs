use std::net::IpAddr;

use proptest::{collection::vec, prelude::*};

use super::*;

fn address(text: &str) -> Addr16 {
    text.parse::<IpAddr>().unwrap().into()
}

fn ban(text: &str, listener: Option<u32>, until: u64) -> Ban {
    Ban {
        address: address(text),
        listener,
        until: Nanos(until),
    }
}

fn holds(list: &BanList, client: &str, listener: u32, now: u64) -> bool {
    let suspect = Suspect {
        address: address(client),
        ipv6_prefix: 64,
        listener,
    };
    list.holds(&suspect, Nanos(now))
}

#[test]
fn a_ban_is_for_one_client_on_its_listeners_until_its_moment() {
    let list = BanList::new(10);
    assert!(!holds(&list, "192.0.2.7", 0, 0), "nobody is banned");
    list.add(ban("192.0.2.7", Some(1), 10)).unwrap();
    list.add(ban("2001:db8::7", None, 10)).unwrap();
    let rows = [
        ("192.0.2.7", 1, 9, true),
        ("::ffff:192.0.2.7", 1, 9, true),
        ("192.0.2.7", 1, 10, false),
        ("192.0.2.7", 0, 9, false),
        ("192.0.2.6", 1, 9, false),
        ("192.0.2.8", 1, 9, false),
        ("2001:db8::7", 5, 9, true),
        ("2001:db8::ffff:ffff:ffff:ffff", 5, 9, true),
        ("2001:db8::7", 5, 10, false),
        ("2001:db8:0:1::7", 5, 9, false),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", 5, 9, false),
    ];
    for (client, listener, now, expected) in rows {
        let is_banned = holds(&list, client, listener, now);
        assert_eq!(is_banned, expected, "{client} {listener} {now}");
    }
}

#[test]
fn two_bans_of_one_client_are_lifted_one_by_one() {
    let list = BanList::new(10);
    list.add(ban("2001:db8::7", None, 10)).unwrap();
    list.add(ban("2001:db8::8", None, 10)).unwrap();
    assert_eq!(list.lift(address("2001:db8::7"), None).len(), 1);
    assert!(
        holds(&list, "2001:db8::7", 0, 0),
        "the other one concerns it"
    );
    assert_eq!(list.lift(address("2001:db8::8"), None).len(), 1);
    assert!(!holds(&list, "2001:db8::7", 0, 0));
}

#[test]
fn a_full_list_takes_no_more_but_changes() {
    let list = BanList::new(2);
    assert_eq!(list.add(ban("192.0.2.1", None, 10)), Ok(false));
    assert_eq!(list.add(ban("192.0.2.2", None, 10)), Ok(false));
    assert_eq!(list.add(ban("192.0.2.3", None, 10)), Err(Full { most: 2 }));
    assert_eq!(list.add(ban("192.0.2.2", None, 20)), Ok(true));
    assert_eq!(list.expire(Nanos(10)), [ban("192.0.2.1", None, 10)]);
    assert_eq!(list.add(ban("192.0.2.3", None, 30)), Ok(false));
}

/// What happens to a list.
#[derive(Clone, Debug)]
enum Act {
    Add(Ban),
    Lift(Addr16, Option<u32>),
    Expire(u64),
}

/// The same as the list, slow and obvious.
#[derive(Default)]
struct Model(Vec<Ban>);

impl Model {
    fn add(&mut self, ban: Ban) -> Result<bool, Full> {
        let same = |it: &Ban| (it.address, it.listener) == (ban.address, ban.listener);
        let before = self.0.len();
        self.0.retain(|it| !same(it));
        let replaced = self.0.len() < before;
        if self.0.len() >= MOST {
            return Err(Full { most: MOST });
        }
        self.0.push(ban);
        Ok(replaced)
    }

    fn take(&mut self, is_meant: impl Fn(&Ban) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|ban| !is_meant(ban));
        before - self.0.len()
    }

    fn of(&self, suspect: &Suspect, now: Nanos) -> Vec<Ban> {
        let client = |address: Addr16| address.prefix(suspect.ipv6_prefix);
        let mut bans: Vec<_> = (self.0.iter().copied())
            .filter(|ban| client(ban.address) == client(suspect.address))
            .filter(|ban| ban.listener.is_none_or(|it| it == suspect.listener))
            .filter(|ban| ban.until > now)
            .collect();
        bans.sort_unstable_by_key(|ban| (ban.address, ban.listener));
        bans
    }
}

const MOST: usize = 4;

/// Few enough that they meet, in both families.
fn addresses() -> impl Strategy<Value = Addr16> {
    let v4 = (0..4_u8).prop_map(|last| Addr16::from_v4([192, 0, 2, last]));
    let bits = [0, 1, 63, 64, 65, 127];
    let v6 = proptest::sample::subsequence(bits.to_vec(), 0..3).prop_map(|bits| {
        let one = |bits: &Vec<u32>| bits.iter().map(|bit| 1_u128 << bit).sum::<u128>();
        Addr16(((0x2001_0db8_u128 << 96) | one(&bits)).to_be_bytes())
    });
    prop_oneof![v4, v6]
}

fn listeners() -> impl Strategy<Value = Option<u32>> {
    proptest::option::of(0..3_u32)
}

fn acts() -> impl Strategy<Value = Act> {
    let add = (addresses(), listeners(), 1..10_u64).prop_map(|(address, listener, until)| {
        Act::Add(Ban {
            address,
            listener,
            until: Nanos(until),
        })
    });
    let lift = (addresses(), listeners()).prop_map(|(address, it)| Act::Lift(address, it));
    prop_oneof![4 => add, 1 => lift, 1 => (0..10_u64).prop_map(Act::Expire)]
}

proptest! {
    #[test]
    fn the_list_is_what_it_looks_like(
        acts in vec(acts(), 0..30),
        client in addresses(),
        ipv6_prefix in prop_oneof![Just(1_u8), Just(64), Just(65), Just(127), Just(128)],
        listener in 0..3_u32,
        now in (0..10_u64).prop_map(Nanos),
    ) {
        let (list, mut model) = (BanList::new(MOST), Model::default());
        let suspect = Suspect { address: client, ipv6_prefix, listener };
        for act in acts {
            let version = list.version();
            let has_changed = match act {
                Act::Add(ban) => {
                    let added = list.add(ban);
                    prop_assert_eq!(added, model.add(ban));
                    added.is_ok()
                }
                Act::Lift(address, listener) => {
                    let lifted = list.lift(address, listener).len();
                    let is_meant = |ban: &Ban| {
                        let is_here = listener.is_none() || ban.listener == listener;
                        ban.address == address && is_here
                    };
                    prop_assert_eq!(lifted, model.take(is_meant));
                    lifted > 0
                }
                Act::Expire(now) => {
                    let expired = list.expire(Nanos(now)).len();
                    prop_assert_eq!(expired, model.take(|ban| ban.until <= Nanos(now)));
                    expired > 0
                }
            };
            prop_assert_eq!(list.version() != version, has_changed);
            let concerning = model.of(&suspect, now);
            prop_assert_eq!(list.holds(&suspect, now), !concerning.is_empty());
            prop_assert_eq!(list.of(&suspect, now), concerning);
            prop_assert_eq!(list.all(now).len(), list.len(now));
            let held = model.0.iter().filter(|ban| ban.until > now).count();
            prop_assert_eq!(list.len(now), held);
            prop_assert!(model.0.len() <= MOST);
        }
    }
}
