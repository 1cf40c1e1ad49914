//! What a test wants of the guard, for the kernel and for the model alike.

use std::collections::BTreeMap;

use pony::{
    config::{Access, IpNet},
    kernel::image::{self, ListenerPolicy},
};
use pony_common::{
    hash::{HashKey, LinearWords},
    layout::{
        block::{ALL_LISTENERS, Block, BlockKey, Scope},
        listener::{ListenerKey, ListenerRef},
        policy::{Row, Rule},
        settings::{BLOCKS_ALL, BLOCKS_ONE, SCHEMA, Settings},
    },
    limit::{Action, AttemptLimit, BandwidthLimit},
    reason::Reason,
    time::Nanos,
};
use pony_ebpf::fixtures;

/// A guard as a test wants it.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) blocks: BTreeMap<(u32, [u8; 16]), Block>,
    /// How many sets the ledger has.
    pub(crate) sets: u32,
}

/// One listener, with its policy.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) key: ListenerKey,
    pub(crate) access: Access,
    pub(crate) rule: Rule,
    /// Whether others use its port too.
    pub(crate) is_shared: bool,
}

impl Listener {
    /// As the guard's maps have it.
    pub(crate) fn reference(&self, number: u32) -> ListenerRef {
        let listener = if self.is_shared {
            ListenerRef::shared(number)
        } else {
            ListenerRef::alone(number)
        };
        if self.key == self.key.wildcard() {
            return listener.on_any_address();
        }
        listener
    }
}

impl Setup {
    /// The listeners of the fixtures, which let everybody in without limit.
    pub(crate) fn open() -> Self {
        Self::of(&EVERY_LISTENER)
    }

    /// These listeners, which let everybody in without limit.
    pub(crate) fn of(keys: &[ListenerKey]) -> Self {
        let listener = |key: &ListenerKey| Listener {
            key: *key,
            access: access(&["0.0.0.0/0", "::/0"], &[], &[]),
            rule: RULE,
            is_shared: false,
        };
        Self {
            listeners: keys.iter().map(listener).collect(),
            blocks: BTreeMap::new(),
            sets: 1024,
        }
    }

    /// The same with another policy on all listeners.
    pub(crate) fn with(mut self, access: &Access, rule: Rule) -> Self {
        for listener in &mut self.listeners {
            listener.access = access.clone();
            listener.rule = rule;
        }
        self
    }

    /// The same where others use the listeners' ports too.
    pub(crate) fn shared(mut self) -> Self {
        for listener in &mut self.listeners {
            listener.is_shared = true;
        }
        self
    }

    /// The same with a client blocked for so long, on a listener or on all.
    pub(crate) fn block(
        mut self,
        listener: u32,
        client: [u8; 16],
        (reason, scope, until): (Reason, Scope, Nanos),
    ) -> Self {
        let block = Block {
            until,
            refused: 0,
            reason: reason as u32,
            scope: scope as u32,
        };
        self.blocks.insert((listener, client), block);
        self
    }

    pub(crate) fn image(&self, generation: u64) -> Vec<Row> {
        let policies = self.listeners.iter().map(|listener| ListenerPolicy {
            access: &listener.access,
            rule: listener.rule,
        });
        image::build(generation, &policies.collect::<Vec<_>>()).unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        let kinds = self.blocks.keys().map(|(listener, _)| match *listener {
            ALL_LISTENERS => BLOCKS_ALL,
            _ => BLOCKS_ONE,
        });
        Settings {
            schema: SCHEMA,
            blocks: kinds.fold(0, |all, kind| all | kind),
            generation: 1,
        }
    }

    pub(crate) fn block_entries(&self) -> impl Iterator<Item = (BlockKey, Block)> {
        self.blocks.iter().map(|((listener, client), block)| {
            let client = pony_common::addr::Addr16(*client);
            let listener = *listener;
            (BlockKey { listener, client }, *block)
        })
    }
}

pub(crate) fn access(allow: &[&str], deny: &[&str], exempt: &[&str]) -> Access {
    let nets =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    Access {
        allow: nets(allow),
        deny: nets(deny),
        exempt: nets(exempt),
    }
}

/// So many attempts and bytes in ten minutes, which no test takes.
pub(crate) fn limited(attempts: u32, bytes: u64, action: Action) -> Rule {
    let window = Nanos::from_secs(600);
    Rule {
        action,
        attempts: AttemptLimit {
            max: attempts,
            window,
        },
        bandwidth: BandwidthLimit {
            limit: bytes,
            window,
            action,
            throttle_minimum: 0,
        },
        ..RULE
    }
}

/// No limits.
pub(crate) const RULE: Rule = Rule {
    reset: false,
    action: Action::Drop,
    ipv6_prefix: 64,
    attempts: AttemptLimit {
        max: 0,
        window: Nanos::ZERO,
    },
    bandwidth: BandwidthLimit {
        limit: 0,
        window: Nanos::ZERO,
        action: Action::Drop,
        throttle_minimum: 0,
    },
};

/// Those that the fixtures are addressed to, each at its number.
pub(crate) const EVERY_LISTENER: [ListenerKey; 4] = [
    fixtures::TCP_V4,
    fixtures::TCP_V6,
    fixtures::UDP_V4,
    fixtures::UDP_V6,
];

pub(crate) const HASH_KEY: HashKey = HashKey([0x1234_5678_9abc_def0, 42]);

/// Any keys will do, as long as they are not drawn.
pub(crate) fn attempts_key() -> LinearWords {
    let word = |at: usize| HASH_KEY.hash([at as u64]);
    LinearWords(std::array::from_fn(|at| [word(2 * at), word(2 * at + 1)]))
}
