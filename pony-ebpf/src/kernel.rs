//! The world of a verdict, as the maps have it.

use pony_common::{
    layout::{
        block::{Block, BlockKey},
        ledger::{self, Entry, Identity, Ledger, SetRow},
        policy::{Row, Rows},
        settings::Settings,
    },
    limit::Window,
    time::Nanos,
};
use pony_ebpf::{
    parse::Packet,
    syn::{self, Attempt},
    world::{Blocked, World},
};

use crate::{
    cell::MapCell,
    identity::MapIdentity,
    maps::{
        ATTEMPTS_KEY, AttemptsKey, BLOCKS, HASH_KEY, Image, LEDGER, LEDGER_SETS, POLICY, SETS,
        SETTINGS, SYNS,
    },
};

/// The maps of this object.
pub(crate) struct Kernel;

/// One policy. Its array lives for as long as a program that has found it runs.
pub(crate) struct Policy<'a>(&'a Image);

impl Rows for Policy<'_> {
    #[inline(always)]
    fn row(&self, index: u32) -> Option<&Row> {
        self.0.get(index)
    }
}

impl World for Kernel {
    type Cell = MapCell;
    type Identity = MapIdentity;
    type AttemptsKey = AttemptsKey;
    type Policy<'a> = Policy<'a>;

    #[inline(always)]
    fn policy(&self) -> Option<Policy<'_>> {
        POLICY.get(0).map(Policy)
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn attempts_key(&self) -> &AttemptsKey {
        &ATTEMPTS_KEY
    }

    #[inline(always)]
    fn block(&self, key: &BlockKey) -> Option<Blocked<'_, MapCell>> {
        let block: *mut Block = BLOCKS.get_ptr_mut(key)?;
        // SAFETY: the element stays readable and writable while the program runs, also when it is
        // removed meanwhile; `refused` is eight aligned bytes, which all writers change atomically.
        unsafe {
            Some(Blocked {
                until: (*block).until,
                reason: (*block).reason,
                scope: (*block).scope,
                refused: &*(&raw mut (*block).refused).cast(),
            })
        }
    }

    #[inline(always)]
    fn attempt(&self, index: u32) -> Option<&MapCell> {
        SYNS.get(index)
    }

    #[inline(always)]
    fn recall(&self, packet: &Packet, generation: u64, now: Nanos) -> Attempt {
        Attempt(syn_recall(&raw const *packet, generation, now.0))
    }

    #[inline(always)]
    fn client(&self, who: Identity, now: Nanos) -> Option<&Entry<MapCell, MapIdentity>> {
        LEDGER.get(ledger_place(&raw const who, now.0))
    }

    #[inline(always)]
    fn add(&self, window: &Window<MapCell>, now: Nanos, len: Nanos, n: u64) -> u64 {
        window_add(window, now.0, len.0, n)
    }

    #[inline(always)]
    fn record(&self, window: &Window<MapCell>, now: Nanos, len: Nanos, n: u64) {
        let _done = window_record(window, now.0, len.0, n);
    }

    #[inline(always)]
    fn sum(&self, window: &Window<MapCell>, now: Nanos, len: Nanos) -> u64 {
        window_sum(window, now.0, len.0)
    }
}

impl Ledger for Kernel {
    type Cell = MapCell;
    type Identity = MapIdentity;

    #[inline(always)]
    fn sets(&self) -> u32 {
        SETS.load()
    }

    #[inline(always)]
    fn set(&self, index: u32) -> Option<&SetRow<MapCell>> {
        LEDGER_SETS.get(index)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&Entry<MapCell, MapIdentity>> {
        LEDGER.get(index)
    }
}

// The verifier checks a function with a C name by itself, once, whatever it is called with; any
// other again for each way that leads to a call. It hands out no pointer to a map's value.

/// Where in `LEDGER` the client's entry is; past its end if nowhere.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn ledger_place(who: *const Identity, now: u64) -> u32 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let Some(who) = (unsafe { who.as_ref() }) else {
        return u32::MAX;
    };
    ledger::place(&Kernel, &HASH_KEY.load(), *who, Nanos(now)).unwrap_or(u32::MAX)
}

/// What is known of a packet, as the number that an `Attempt` is.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn syn_recall(packet: *const Packet, generation: u64, now: u64) -> u64 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let packet = unsafe { packet.as_ref() };
    packet.map_or(0, |packet| {
        syn::recall(&Kernel, packet, generation, Nanos(now)).0
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn window_add(window: *const Window<MapCell>, now: u64, len: u64, n: u64) -> u64 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let window = unsafe { window.as_ref() };
    window.map_or(0, |window| window.add(Nanos(now), Nanos(len), n))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn window_record(window: *const Window<MapCell>, now: u64, len: u64, n: u64) -> u64 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let window = unsafe { window.as_ref() };
    // It wants a result, too.
    window.map_or(0, |window| {
        window.record(Nanos(now), Nanos(len), n);
        1
    })
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn window_sum(window: *const Window<MapCell>, now: u64, len: u64) -> u64 {
    // SAFETY: only called with a valid reference. The verifier wants to see that it is not null.
    let window = unsafe { window.as_ref() };
    window.map_or(0, |window| window.sum(Nanos(now), Nanos(len)))
}
