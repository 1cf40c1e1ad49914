//! What is done with a packet for a listener, and what a client's packets leave in the ledger.
//!
//! The order is fixed: flags that no connection has, blocks, access, attempts, bandwidth. A
//! packet that is refused before the ledger is asked leaves nothing there, so that a flood of
//! such packets costs little and pushes nobody out. A policy that is not there refuses nobody.

use pony_common::{
    addr::Addr16,
    cell::Cell64,
    layout::{
        block::{ALL_LISTENERS, BlockKey, Scope},
        ledger::{Entry, Identity},
        policy::{Listener, Rows, Standing},
        settings::{BLOCKS_ALL, BLOCKS_ONE},
        stats::Slot,
    },
    limit::Action,
    reason::Reason,
    time::Nanos,
};

use crate::{parse::Packet, syn::Known, world::World};

/// What is done with a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    outcome: Outcome,
    /// How many connections or datagrams were refused with it, or would have been.
    pub attempts: u64,
    /// Whose packet it is.
    pub client: Addr16,
    /// What happens to it.
    pub answer: Answer,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It goes on to the stack.
    Pass,
    /// It is dropped.
    Drop,
    /// It is dropped, and the client is told, see [`reset`](crate::header::reset).
    Reset,
}

/// Decides about a packet for a listener.
#[inline(always)]
pub fn verdict<W: World>(world: &W, packet: &Packet, listener: u32, now: Nanos) -> Decision {
    let whole = packet.from.addr;
    if packet
        .tcp()
        .is_some_and(|segment| segment.flags.are_bogus())
    {
        return Decision::of(whole, Outcome::refuse(Reason::Malformed), 0);
    }
    let pass = Decision::of(whole, Outcome::PASS, 0);
    let Some(policy) = world.policy() else {
        return pass;
    };
    let Some(rules) = Listener::read(&policy, listener) else {
        return pass;
    };
    let case = Case {
        world,
        packet,
        rules,
        client: whole.prefix(rules.ipv6_prefix()),
        listener,
        now,
    };
    case.judge(|| standing(rules, &policy, listener, &packet.from.addr))
}

/// How the listener stands to the address.
// Never inlined, as the kernel's stack is small.
#[inline(never)]
fn standing<R: Rows>(rules: Listener<'_>, policy: &R, listener: u32, addr: &Addr16) -> Standing {
    rules.standing(policy, listener, *addr)
}

/// Counts for its client a packet that a listener sends.
#[inline(always)]
pub fn sent<W: World>(world: &W, packet: &Packet, listener: u32, now: Nanos) {
    let Some(policy) = world.policy() else {
        return;
    };
    let Some(rules) = Listener::read(&policy, listener) else {
        return;
    };
    let client = packet.to.addr.prefix(rules.ipv6_prefix());
    let Some(entry) = world.client(Identity::new(client, listener), now) else {
        return;
    };
    let bytes = u64::from(packet.payload_len);
    entry.packets_out.add(1);
    entry.bytes_out.add(bytes);
    let window = rules.bandwidth().window;
    if packet.tcp().is_none() && window > Nanos::ZERO {
        world.record(&entry.window, now, window, bytes);
    }
}

/// One packet of a client, and all that matters for it.
struct Case<'a, W> {
    world: &'a W,
    packet: &'a Packet,
    rules: Listener<'a>,
    client: Addr16,
    listener: u32,
    now: Nanos,
}

/// What becomes of a packet, before it is said how.
///
/// Not an `enum` with a reason in some of its variants: where it is not there, the compiler would
/// copy whatever is in its place, and the verifier takes that for reading what nobody wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Outcome {
    verdict: Verdict,
    /// Means nothing if the packet passes.
    reason: Reason,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    Pass,
    Report,
    Refuse,
}

impl Outcome {
    const PASS: Self = Self {
        verdict: Verdict::Pass,
        reason: Reason::Acl,
    };

    #[inline(always)]
    const fn refuse(reason: Reason) -> Self {
        Self {
            verdict: Verdict::Refuse,
            reason,
        }
    }

    /// Over a limit, where that is only to be known.
    #[inline(always)]
    const fn report(reason: Reason) -> Self {
        Self {
            verdict: Verdict::Report,
            reason,
        }
    }

    /// What is to be known of an attempt with this outcome.
    #[inline(always)]
    fn known(self) -> Known {
        if self.is_refusal() {
            return Known::refused(self.reason);
        }
        Known::PASSED
    }

    #[inline(always)]
    fn is_refusal(self) -> bool {
        self.verdict == Verdict::Refuse
    }
}

impl<W: World> Case<'_, W> {
    #[inline(always)]
    fn judge(&self, standing: impl FnOnce() -> Standing) -> Decision {
        let attempt = (self.world).recall(self.packet, self.rules.generation(), self.now);
        let known = attempt.known();
        let (outcome, attempts) = match known.refusal() {
            // Once refused, a SYN stays refused: the daemon closes a connection for good, too. By the
            // same policy its client was not exempt, so nothing more is asked about a flood of it.
            Some(reason) => (Outcome::refuse(reason), 0),
            None => (self.outcome(standing(), known), self.attempts()),
        };
        let remembered = outcome.known();
        // A refusal that is known is remembered already, however often it comes.
        if attempt.is_some()
            && (known != remembered || !outcome.is_refusal())
            && let Some(word) = self.world.attempt(attempt.index())
        {
            attempt.remember(word, self.now, remembered);
        }
        let mut decision = Decision::of(self.client, outcome, attempts);
        if self.rules.is_reset() && outcome.is_refusal() && attempt.is_some() {
            decision.answer = Answer::Reset;
        }
        decision
    }

    /// What this packet counts as where refusals are counted: a SYN that was refused before is
    /// not asked about, and the rest of a connection is no attempt.
    #[inline(always)]
    fn attempts(&self) -> u64 {
        u64::from(
            self.packet
                .tcp()
                .is_none_or(|segment| segment.flags.is_attempt()),
        )
    }

    /// What the rules say, and what that leaves in the ledger.
    #[inline(always)]
    fn outcome(&self, standing: Standing, known: Known) -> Outcome {
        let is_exempt = matches!(standing, Standing::Exempt);
        if !is_exempt && let Some(reason) = self.blocked() {
            return Outcome::refuse(reason);
        }
        if matches!(standing, Standing::Denied) {
            return Outcome::refuse(Reason::Acl);
        }
        let who = Identity::new(self.client, self.listener);
        let Some(entry) = self.world.client(who, self.now) else {
            return Outcome::PASS;
        };
        let is_new_attempt = self.attempts() > 0 && known == Known::NOTHING;
        let outcome = match self.packet.tcp() {
            Some(_) if is_new_attempt => {
                let outcome = self.admit(entry, is_exempt);
                entry.attempts.add(1);
                outcome
            }
            None if !is_exempt => self.charge(entry),
            _ => Outcome::PASS,
        };
        if !outcome.is_refusal() {
            entry.packets_in.add(1);
            if self.bytes() > 0 {
                entry.bytes_in.add(self.bytes());
            }
        }
        outcome
    }

    /// Counts an attempt, and whether it is within the limit.
    #[inline(always)]
    fn admit(&self, entry: &Entry<W::Cell, W::Identity>, is_exempt: bool) -> Outcome {
        let limit = self.rules.attempts();
        if is_exempt || limit.window == Nanos::ZERO {
            return Outcome::PASS;
        }
        let before = self.world.add(&entry.window, self.now, limit.window, 1);
        if limit.allows(before) {
            return Outcome::PASS;
        }
        match self.rules.action() {
            Action::LogOnly => Outcome::report(Reason::AttemptLimit),
            Action::Drop | Action::Throttle => Outcome::refuse(Reason::AttemptLimit),
        }
    }

    /// Counts a datagram, and whether it is within the limit. One that is refused does not count,
    /// and one that is paced does: how, is for the daemon to say.
    #[inline(always)]
    fn charge(&self, entry: &Entry<W::Cell, W::Identity>) -> Outcome {
        let limit = self.rules.bandwidth();
        let bytes = self.bytes();
        if limit.window == Nanos::ZERO || bytes == 0 {
            return Outcome::PASS;
        }
        let before = self.world.sum(&entry.window, self.now, limit.window);
        let is_over = !limit.allows(before, bytes);
        if is_over && matches!(limit.action, Action::Drop) {
            return Outcome::refuse(Reason::BandwidthLimit);
        }
        (self.world).record(&entry.window, self.now, limit.window, bytes);
        if is_over && matches!(limit.action, Action::LogOnly) {
            return Outcome::report(Reason::BandwidthLimit);
        }
        Outcome::PASS
    }

    /// The reason of a block that this packet falls under.
    #[inline(always)]
    fn blocked(&self) -> Option<Reason> {
        let kinds = self.world.settings()?.blocks;
        let one = (kinds & BLOCKS_ONE != 0).then(|| self.block(self.listener));
        let one = one.flatten();
        if one.is_some() || kinds & BLOCKS_ALL == 0 {
            return one;
        }
        self.block(ALL_LISTENERS)
    }

    #[inline(always)]
    fn block(&self, listener: u32) -> Option<Reason> {
        let client = self.client;
        let block = self.world.block(&BlockKey { listener, client })?;
        let is_attempt = self.packet.tcp().is_some() && self.attempts() > 0;
        let applies = block.scope == Scope::All as u32 || is_attempt;
        if !applies || self.now >= block.until {
            return None;
        }
        block.refused.add(self.attempts());
        Reason::from_value(block.reason)
    }

    #[inline(always)]
    fn bytes(&self) -> u64 {
        u64::from(self.packet.payload_len)
    }
}

impl Decision {
    /// What to count the packet as.
    #[inline(always)]
    pub const fn slot(&self) -> Slot {
        let reason = self.outcome.reason;
        match self.outcome.verdict {
            Verdict::Pass => Slot::Pass,
            Verdict::Report => Slot::Report(reason),
            Verdict::Refuse => Slot::Drop(reason),
        }
    }

    #[inline(always)]
    fn of(client: Addr16, outcome: Outcome, attempts: u64) -> Self {
        let (attempts, answer) = match outcome.verdict {
            Verdict::Pass => (0, Answer::Pass),
            Verdict::Report => (attempts, Answer::Pass),
            Verdict::Refuse => (attempts, Answer::Drop),
        };
        Self {
            outcome,
            attempts,
            client,
            answer,
        }
    }
}
