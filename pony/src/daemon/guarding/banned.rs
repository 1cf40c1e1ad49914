//! The blocks for clients that are banned.

use std::{collections::HashMap, sync::Arc};

use pony_common::{
    layout::block::{ALL_LISTENERS, BlockKey, Scope},
    reason::Reason,
    time::Nanos,
};

use crate::{
    kernel::Wanted,
    policy::{Ban, BanList},
};

/// The list of bans as the guard is to know it. It is looked through only when it has changed.
pub(super) struct Banned {
    list: Arc<BanList>,
    /// How many bits of an IPv6 address make a client, for each listener.
    prefixes: Vec<u8>,
    /// Which version of the list is in `wanted`.
    seen: Option<u64>,
    wanted: Vec<Wanted>,
}

impl Banned {
    pub(super) fn new(list: Arc<BanList>, prefixes: Vec<u8>) -> Self {
        Self {
            list,
            prefixes,
            seen: None,
            wanted: Vec::new(),
        }
    }

    /// The blocks of all bans, also of some that have just ended.
    pub(super) fn wanted(&mut self, now: Nanos) -> &[Wanted] {
        let version = self.list.version();
        if self.seen.replace(version) != Some(version) {
            self.wanted = blocks(&self.list.all(now), &self.prefixes);
        }
        &self.wanted
    }
}

/// One block for each client, however many bans concern it.
fn blocks(bans: &[Ban], prefixes: &[u8]) -> Vec<Wanted> {
    let mut until: HashMap<BlockKey, Nanos> = HashMap::new();
    for ban in bans {
        for key in keys(ban, prefixes) {
            let end = until.entry(key).or_default();
            *end = block_end(ban).max(*end);
        }
    }
    let wanted = until.into_iter().map(|(key, until)| Wanted {
        key,
        reason: Reason::Banned,
        scope: Scope::All,
        until,
    });
    wanted.collect()
}

/// The guard reads the time of the last tick. It would go on for a moment when the ban is over, and
/// what it refuses then stays refused however often it is sent again; so it ends a little early, and
/// the daemon does the rest.
fn block_end(ban: &Ban) -> Nanos {
    match ban.until {
        Nanos::MAX => Nanos::MAX,
        until => until.saturating_sub(TICK),
    }
}

/// Longer than a tick is on any kernel: 10 ms.
const TICK: Nanos = Nanos::from_millis(20);

/// Under which keys the guard looks for the client of a ban.
fn keys(ban: &Ban, prefixes: &[u8]) -> Vec<BlockKey> {
    let key = |listener, prefix| BlockKey {
        listener,
        client: ban.address.prefix(prefix),
    };
    let numbered = (0..).zip(prefixes);
    if ban.listener.is_some() {
        let here = numbered.filter(|(number, _)| ban.listener == Some(*number));
        return here.map(|(number, prefix)| key(number, *prefix)).collect();
    }
    // Where clients are of different sizes, the prefix of one listener may be the address of
    // somebody else at another one.
    match prefixes {
        [first, rest @ ..] if ban.address.is_v4() || rest.iter().all(|other| other == first) => {
            vec![key(ALL_LISTENERS, *first)]
        }
        _ => numbered
            .map(|(number, prefix)| key(number, *prefix))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use pony_common::addr::Addr16;

    use super::*;

    fn ban(address: &str, listener: Option<u32>, until: u64) -> Ban {
        Ban {
            address: address.parse::<std::net::IpAddr>().unwrap().into(),
            listener,
            until: Nanos::from_millis(until),
        }
    }

    fn wanted(bans: &[Ban], prefixes: &[u8]) -> Vec<(u32, String, Nanos)> {
        let client = |client: Addr16| client.to_ip().to_string();
        let blocks = blocks(bans, prefixes).into_iter();
        let mut wanted: Vec<_> = blocks
            .inspect(|it| assert_eq!((it.reason, it.scope), (Reason::Banned, Scope::All)))
            .map(|it| (it.key.listener, client(it.key.client), it.until))
            .collect();
        wanted.sort();
        wanted
    }

    /// Its block ends a little before the ban.
    fn row(listener: u32, client: &str, until: u64) -> (u32, String, Nanos) {
        (listener, client.to_owned(), Nanos::from_millis(until - 20))
    }

    #[test]
    fn a_ban_is_one_block_unless_clients_are_of_different_sizes() {
        let v4 = [ban("192.0.2.7", None, 900), ban("192.0.2.7", Some(1), 500)];
        let expected = [
            row(1, "192.0.2.7", 500),
            row(ALL_LISTENERS, "192.0.2.7", 900),
        ];
        assert_eq!(wanted(&v4, &[64, 48]), expected);

        let v6 = [ban("2001:db8::1:0:0:0:7", None, 900)];
        let everywhere = [row(ALL_LISTENERS, "2001:db8:0:1::", 900)];
        assert_eq!(wanted(&v6, &[64, 64]), everywhere);
        let each = [row(0, "2001:db8:0:1::", 900), row(1, "2001:db8::", 900)];
        assert_eq!(wanted(&v6, &[64, 48]), each);
    }

    #[test]
    fn the_longest_ban_of_a_client_counts() {
        let bans = [
            ban("2001:db8::7", Some(0), 500),
            ban("2001:db8::8", Some(0), 900),
            ban("2001:db8::9", Some(0), 700),
        ];
        assert_eq!(wanted(&bans, &[64]), [row(0, "2001:db8::", 900)]);
        let nowhere = [ban("192.0.2.7", Some(3), 900)];
        assert_eq!(wanted(&nowhere, &[64]), []);
    }

    #[test]
    fn a_change_of_the_list_is_seen() {
        let list = Arc::new(BanList::new(10));
        let mut banned = Banned::new(Arc::clone(&list), vec![64]);
        assert_eq!(banned.wanted(Nanos(1)), []);
        list.add(ban("192.0.2.7", None, 900)).unwrap();
        assert_eq!(banned.wanted(Nanos(1)).len(), 1);
        let forever = Ban {
            until: Nanos::MAX,
            ..ban("192.0.2.7", None, 0)
        };
        list.add(forever).unwrap();
        assert_eq!(banned.wanted(Nanos(1))[0].until, Nanos::MAX);
        list.lift(ban("192.0.2.7", None, 900).address, None);
        assert_eq!(banned.wanted(Nanos(1)), []);
    }
}
