//! `BLOCKS`: clients that the kernel refuses because the daemon says so.
//!
//! What always holds: a block ends by itself soon after the daemon stops renewing it; there are
//! never more than the map has room for, and who finds no room is refused by the daemon itself;
//! what the kernel refused for a block is told exactly once, unless it is for a ban, which comes
//! before all that is counted by client.

use std::{collections::HashMap, sync::Arc};

use aya::{
    Ebpf,
    maps::{self, MapData, MapError},
};
use pony_common::{
    layout::{
        block::{ALL_LISTENERS, Block, BlockKey, Scope},
        settings::{BLOCKS_ALL, BLOCKS_ONE},
    },
    names,
    reason::Reason,
    time::Nanos,
};

use super::{error::StartError, object, settings::SettingsMap};

/// A client that is to be refused in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Which client, and on which listener.
    pub key: BlockKey,
    /// The limit that it is over, or that it is banned.
    pub reason: Reason,
    /// Which of its packets.
    pub scope: Scope,
    /// When it will be free again by itself, at the earliest.
    pub until: Nanos,
}

/// What the kernel has refused for a block since that was last told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Which client, and on which listener.
    pub key: BlockKey,
    /// For what.
    pub reason: Reason,
    /// How many attempts.
    pub attempts: u64,
}

/// The blocks of the guard. Only one thread has them.
pub struct Blocks {
    table: BlockMap,
    known: Known,
}

impl Blocks {
    pub(super) fn take(
        ebpf: &mut Ebpf,
        settings: Arc<SettingsMap>,
        most: u32,
    ) -> Result<Self, StartError> {
        let map = object::take(ebpf, names::BLOCKS)?;
        Ok(Self {
            table: BlockMap { map, settings },
            known: Known::new(most),
        })
    }

    /// Makes `wanted` what the kernel refuses, and answers what it has refused meanwhile.
    pub fn update(&mut self, wanted: impl Iterator<Item = Wanted>, now: Nanos) -> Vec<Refused> {
        self.known.update(&mut self.table, wanted, now)
    }

    /// How many clients are blocked.
    pub fn len(&self) -> usize {
        self.known.present.len()
    }

    /// Whether nobody is blocked.
    pub fn is_empty(&self) -> bool {
        self.known.present.is_empty()
    }
}

/// Where the blocks are.
trait Table {
    /// A block that cannot be read counts as gone.
    fn get(&self, key: &BlockKey) -> Option<Block>;
    /// Whether there was room.
    fn put(&mut self, key: &BlockKey, block: Block) -> bool;
    fn remove(&mut self, key: &BlockKey);
    /// Which kinds there are, as in the settings. Told before the first one of a kind comes and after
    /// the last one went.
    fn set_kinds(&mut self, kinds: u32);
}

struct BlockMap {
    map: maps::HashMap<MapData, BlockKey, Block>,
    settings: Arc<SettingsMap>,
}

impl Table for BlockMap {
    fn get(&self, key: &BlockKey) -> Option<Block> {
        self.map.get(key, 0).ok()
    }

    fn put(&mut self, key: &BlockKey, block: Block) -> bool {
        self.map.insert(key, block, 0).is_ok()
    }

    fn remove(&mut self, key: &BlockKey) {
        // One that is not there is what was wanted.
        let _absent: Result<(), MapError> = self.map.remove(key);
    }

    fn set_kinds(&mut self, kinds: u32) {
        // At worst the kernel looks for blocks where none are, or refuses nothing for them.
        let _unchanged: Result<(), MapError> = self.settings.set_blocks(kinds);
    }
}

/// What is in the table, as far as the daemon put it there.
struct Known {
    most: usize,
    present: HashMap<BlockKey, Present>,
    /// Those that the table was told.
    kinds: u32,
    /// Counts updates.
    round: u64,
}

struct Present {
    reason: Reason,
    scope: Scope,
    until: Nanos,
    /// How many refusals were told.
    told: u64,
    /// When it was last wanted.
    round: u64,
}

impl Known {
    fn new(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            present: HashMap::new(),
            kinds: 0,
            round: 0,
        }
    }

    fn update(
        &mut self,
        table: &mut impl Table,
        wanted: impl Iterator<Item = Wanted>,
        now: Nanos,
    ) -> Vec<Refused> {
        self.round += 1;
        let mut refused = Vec::new();
        let mut new = Vec::new();
        for wanted in wanted.filter(|wanted| wanted.until > now) {
            match self.present.get_mut(&wanted.key) {
                Some(present) => {
                    present.round = self.round;
                    refused.extend(present.keep(table, &wanted, now));
                }
                None if new.len() < self.most => new.push(wanted),
                None => {}
            }
        }
        self.remove_unwanted(table, &mut refused);
        for wanted in &new {
            self.add(table, wanted, now);
        }
        refused
    }

    fn remove_unwanted(&mut self, table: &mut impl Table, refused: &mut Vec<Refused>) {
        let round = self.round;
        let mut kinds = 0;
        self.present.retain(|key, present| {
            let is_wanted = present.round == round;
            if is_wanted {
                kinds |= kind(key);
            } else {
                refused.extend(present.tell(key, present.look(table, key)));
                table.remove(key);
            }
            is_wanted
        });
        self.set_kinds(table, kinds);
    }

    fn add(&mut self, table: &mut impl Table, wanted: &Wanted, now: Nanos) {
        if self.present.len() >= self.most {
            return;
        }
        self.set_kinds(table, self.kinds | kind(&wanted.key));
        let present = Present {
            reason: wanted.reason,
            scope: wanted.scope,
            until: lease(wanted, now),
            told: 0,
            round: self.round,
        };
        if table.put(&wanted.key, present.block(0)) {
            self.present.insert(wanted.key, present);
        }
    }

    fn set_kinds(&mut self, table: &mut impl Table, kinds: u32) {
        if kinds != self.kinds {
            self.kinds = kinds;
            table.set_kinds(kinds);
        }
    }
}

impl Present {
    /// Renews the block where that is due.
    fn keep(&mut self, table: &mut impl Table, wanted: &Wanted, now: Nanos) -> Option<Refused> {
        let found = self.look(table, &wanted.key);
        let is_gone = found.is_none() && self.is_counted();
        let refused = self.tell(&wanted.key, found);
        let until = lease(wanted, now);
        let is_due = self.until.saturating_sub(now) < RENEWAL;
        let is_other = (self.reason, self.scope) != (wanted.reason, wanted.scope);
        // One that ends earlier than it was thought to would refuse what is allowed.
        if is_gone || is_due || is_other || until < self.until {
            (self.reason, self.scope, self.until) = (wanted.reason, wanted.scope, until);
            // What the kernel counts between the reading above and this is lost: microseconds,
            // twice a second.
            table.put(&wanted.key, self.block(self.told));
        }
        refused
    }

    /// Whether it matters what was refused for it.
    fn is_counted(&self) -> bool {
        self.reason != Reason::Banned
    }

    /// Bans are not even looked at: there may be ten thousand, ten times a second.
    fn look(&self, table: &impl Table, key: &BlockKey) -> Option<Block> {
        self.is_counted().then(|| table.get(key)).flatten()
    }

    fn tell(&mut self, key: &BlockKey, found: Option<Block>) -> Option<Refused> {
        let attempts = found?.refused.saturating_sub(self.told);
        self.told += attempts;
        (attempts > 0).then_some(Refused {
            key: *key,
            reason: self.reason,
            attempts,
        })
    }

    fn block(&self, refused: u64) -> Block {
        Block {
            until: self.until,
            refused,
            reason: self.reason as u32,
            scope: self.scope as u32,
        }
    }
}

/// The bit of the settings that makes the kernel look for it.
fn kind(key: &BlockKey) -> u32 {
    match key.listener {
        ALL_LISTENERS => BLOCKS_ALL,
        _ => BLOCKS_ONE,
    }
}

/// How long the kernel may go on by itself.
fn lease(wanted: &Wanted, now: Nanos) -> Nanos {
    wanted.until.min(now.saturating_add(LEASE))
}

/// The longest that a block outlives its daemon.
const LEASE: Nanos = Nanos::from_secs(1);
/// A block that has less left is renewed.
const RENEWAL: Nanos = Nanos::from_millis(500);

#[cfg(test)]
mod tests;
