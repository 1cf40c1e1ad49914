//! The dangerous cases, run through the loaded program before any flow of a client is.
//!
//! What the kernel does with sockets in maps has changed and been broken between versions. Each case
//! here was seen to lose, double or hold back bytes where it is not taken care of; a kernel on which
//! one fails is not to be trusted with flows.

mod trial;

use std::{
    io::{self, Read as _},
    net::Shutdown,
    time::Duration,
};

use pony_common::{layout::lane::SLIPS, time::Nanos};

use self::trial::{Patience, Trial, pattern};
use super::{Joined, Lanes, LanesError, Left, Side, Terms};

/// Runs every case, on sockets of its own on loopback, and answers how often each
/// [`Slip`](pony_common::layout::lane::Slip) happened. Blocks.
pub(super) fn run(lanes: &Lanes) -> Result<[u64; SLIPS as usize], LanesError> {
    let patience = Patience::new(WORK, LONGEST);
    // Whether sockets on loopback can be had at all is no question of the program.
    Trial::new(patience).map_err(|source| LanesError::NoLoopback { source })?;
    for (case, run) in CASES {
        let result = Trial::new(patience).and_then(|trial| run(lanes, &trial));
        result.map_err(|source| LanesError::SelfTest { case, source })?;
    }
    let all = |source| LanesError::SelfTest {
        case: "all",
        source,
    };
    let slips = lanes.table.slips().map_err(all)?;
    let [faults @ .., _overlaps] = slips;
    if faults.iter().any(|faults| *faults > 0) {
        let what = format!("the program did not know what to do: {faults:?}");
        return Err(all(io::Error::other(what)));
    }
    Ok(slips)
}

type Case = fn(&Lanes, &Trial) -> io::Result<()>;

const CASES: [(&str, Case); 8] = [
    ("both ways", both_ways),
    ("bytes that came before", early_bytes),
    ("bytes that were read in part", repeated_bytes),
    ("an end with a slow peer", half_close),
    ("last words", last_words),
    ("a peer that does not read", stalled_peer),
    ("many handovers", handovers),
    ("leaving and joining again", leaving),
];

fn both_ways(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let joined = trial.join(lanes, FREE)?;
    trial.carry(&joined, &pattern(100_000))?;
    trial.send(&trial.target, b"answer")?;
    trial.expect(&trial.client, b"answer")?;
    let there = joined.from(Side::Client).progress();
    check(there.redirected == 100_000, "it was not handed over")
}

fn early_bytes(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let bytes = pattern(20_000);
    let (early, late) = bytes.split_at(10_000);
    trial.send(&trial.client, early)?;
    trial.arrived(&trial.near, early.len())?;
    let joined = trial.join(lanes, FREE)?;
    trial.expect(&trial.target, early)?;
    trial.carry(&joined, late)
}

fn repeated_bytes(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let bytes = pattern(10_000);
    trial.send(&trial.client, &bytes)?;
    trial.arrived(&trial.near, bytes.len())?;
    let mut part = [0; 5_000];
    (&trial.near).read_exact(&mut part)?;
    trial.send(&trial.far, &part)?;
    let _joined = trial.join(lanes, FREE)?;
    trial.expect(&trial.target, &bytes)
}

fn half_close(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let joined = trial.join(lanes, FREE)?;
    let there = joined.from(Side::Client);
    let bytes = pattern(200_000);
    trial.send(&trial.client, &bytes)?;
    trial.client.shutdown(Shutdown::Write)?;
    trial.expect(&trial.target, &bytes[..1_000])?;
    let mut is_passed_on = false;
    for bytes in bytes[1_000..].chunks(10_000) {
        if !is_passed_on && there.is_over()? {
            trial.far.shutdown(Shutdown::Write)?;
            is_passed_on = true;
        }
        trial.expect(&trial.target, bytes)?;
    }
    trial.until(|| there.is_over())?;
    if !is_passed_on {
        trial.far.shutdown(Shutdown::Write)?;
    }
    trial.expect_end(&trial.target)?;
    trial.send(&trial.target, b"answer")?;
    trial.expect(&trial.client, b"answer")
}

fn last_words(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let joined = trial.join(lanes, FREE)?;
    let (there, back) = (joined.from(Side::Client), joined.from(Side::Target));
    trial.client.shutdown(Shutdown::Write)?;
    trial.until(|| there.is_over())?;
    trial.far.shutdown(Shutdown::Write)?;
    trial.expect_end(&trial.target)?;
    back.withhold();
    trial.send(&trial.target, b"last words")?;
    trial.target.shutdown(Shutdown::Write)?;
    trial.until(|| Ok(trial.relay(back)? > 0))?;
    trial.expect(&trial.client, b"last words")?;
    trial.until(|| back.is_over())
}

fn stalled_peer(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let budget = 50_000;
    let joined = trial.join(lanes, Terms { budget, ..FREE })?;
    let there = joined.from(Side::Client);
    let bytes = pattern(8 << 20);
    let mut sent = 0;
    // No more than it takes: the rest of this case lasts as long as there are bytes.
    for piece in bytes.chunks(10_000) {
        if there.progress().over_budget > 0 {
            break;
        }
        trial.send(&trial.client, piece)?;
        sent += piece.len();
    }
    check(there.progress().over_budget > 0, "the budget has no effect")?;
    check(
        there.on_its_way()? <= budget,
        "more was handed over than the budget",
    )?;
    trial.carry_on(&joined, &bytes[..sent], sent)
}

fn handovers(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let joined = trial.join(
        lanes,
        Terms {
            credit: 1_000,
            ..FREE
        },
    )?;
    let there = joined.from(Side::Client);
    let bytes = pattern(200_000);
    for (round, bytes) in (1..).zip(bytes.chunks(10_000)) {
        trial.carry(&joined, bytes)?;
        let redirected = there.progress().redirected;
        // Now and then as much as comes, else less.
        there.set_credit(redirected + 4_000 + 6_000 * (round % 3));
    }
    let progress = there.progress();
    check(progress.out_of_credit > 5, "the credit has no effect")?;
    check(progress.redirected > 20_000, "it was not handed over again")
}

fn leaving(lanes: &Lanes, trial: &Trial) -> io::Result<()> {
    let bytes = pattern(300_000);
    for bytes in bytes.chunks(100_000) {
        let mut joined = trial.join(lanes, FREE)?;
        let (first, rest) = bytes.split_at(50_000);
        trial.send_in_pieces(first)?;
        trial.until(|| {
            let is_out = joined.leave() == Left::Out;
            trial.relay(joined.from(Side::Client))?;
            Ok(is_out)
        })?;
        drop(joined);
        trial.copy(first)?;
        trial.send_in_pieces(rest)?;
        trial.copy(rest)?;
    }
    Ok(())
}

fn check(is_so: bool, otherwise: &'static str) -> io::Result<()> {
    if is_so {
        return Ok(());
    }
    Err(io::Error::other(otherwise))
}

/// Everything is handed over.
const FREE: Terms = Terms {
    credit: Terms::UNLIMITED,
    call_at: 0,
    budget: 1 << 20,
};

/// How much work all cases together may be: many times as much as they are.
const WORK: Nanos = Nanos::from_millis(2_000);
/// How long they may take on a machine that has no time for them.
const LONGEST: Duration = Duration::from_secs(20);
