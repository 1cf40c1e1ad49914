//! What must hold, and what must be possible.

use stateright::Property;

use crate::{
    daemon::is_marked,
    model::World,
    program::{Decision, Demotion},
    state::{Action, End, Next, Run, SenderEnd, State, Then},
};

/// All of them.
pub(crate) fn all() -> Vec<Property<World>> {
    let always = safety().into_iter().chain(liveness());
    always.chain(sometimes()).chain(departures()).collect()
}

/// About the bytes.
fn safety() -> [Property<World>; 6] {
    [
        Property::always("bytes are written in order and once", |_, state: &State| {
            !state.peer.is_disordered
        }),
        Property::always(
            "a clean end comes after the last byte",
            |_, state: &State| {
                ended(state) != Some(End::Shutdown)
                    || (state.sender.end == Some(SenderEnd::Closed)
                        && state.peer.written == state.sender.bytes)
            },
        ),
        Property::always(
            "the budget bounds what is in flight",
            |world, state: &State| {
                let in_flight = state.peer.redirects.len() + state.peer.written - state.peer.acked;
                in_flight <= world.budget.max(world.room)
            },
        ),
        Property::always(
            "the credit bounds what is redirected",
            |world, state: &State| {
                let granted = world.credit + world.grants - state.daemon.grants;
                state.counts.redirected <= granted
            },
        ),
        Property::always(
            "a flow is reset only if an end failed",
            |_, state: &State| {
                ended(state) != Some(End::Aborted)
                    || state.sender.end == Some(SenderEnd::Reset)
                    || state.peer.is_failing
            },
        ),
        Property::always(
            "the peer leaves with nothing to write",
            |world, state: &State| {
                !world.allows(state, Action::WalkPeer) || state.peer.redirects.is_empty()
            },
        ),
    ]
}

/// About calls: whatever is to be done is done at last.
fn liveness() -> [Property<World>; 4] {
    [
        Property::always("who is to leave is out at last", |world, state: &State| {
            !state.daemon.is_leaving
                || !state.source.is_in_map
                || ended(state).is_some()
                || !is_at_rest(world, state)
        }),
        Property::always("nothing waits at rest", |world, state: &State| {
            ended(state).is_some()
                || !is_at_rest(world, state)
                || (state.sender.end.is_none() && state.peer.acked == state.sender.bytes)
        }),
        Property::always("no mark is missed", |world, state: &State| {
            !is_marked(state)
                || ended(state).is_some()
                || state.daemon.is_leaving
                || !is_at_rest(world, state)
        }),
        Property::always(
            "one call at a time waits in the ring",
            |_, state: &State| !state.source.called || decided(state).is_none_or(|it| !it.calls),
        ),
    ]
}

/// That these are possible shows that the others say something.
fn sometimes() -> [Property<World>; 11] {
    [
        Property::sometimes("bytes wait for the sockets to join", |_, state: &State| {
            state.daemon.next == Next::Kick && !state.source.queue.is_empty()
        }),
        Property::sometimes(
            "bytes are passed while the sockets join",
            |_, state: &State| {
                state.daemon.next == Next::InsertPeer && !state.source.passed.is_empty()
            },
        ),
        Property::sometimes("the direction is promoted", |_, state: &State| {
            decided(state).is_some_and(|it| it.is_redirected) && state.counts.passed > 0
        }),
        Property::sometimes("it runs out of credit", |_, state: &State| {
            decided(state).is_some_and(|it| it.demotion == Some(Demotion::Credit))
        }),
        Property::sometimes("it exceeds the budget", |world, state: &State| {
            world.budget >= world.credit
                || decided(state).is_some_and(|it| it.demotion == Some(Demotion::Budget))
        }),
        Property::sometimes("a mark is reached", |_, state: &State| {
            decided(state).is_some_and(|it| it.is_redirected && it.calls)
        }),
        Property::sometimes(
            "passed bytes wait for redirected ones",
            |_, state: &State| {
                state.daemon.next == Next::Await(Then::Write) && !state.peer.redirects.is_empty()
            },
        ),
        Property::sometimes("the stream ends in the lane", |_, state: &State| {
            ended(state) == Some(End::Shutdown) && state.source.is_in_map
        }),
        Property::sometimes("passed bytes come late", |world, state: &State| {
            !world.runs_short || state.daemon.next == Next::Sleep { polls: true }
        }),
        Property::sometimes(
            "the end comes before passed bytes",
            |world, state: &State| !world.runs_short || state.daemon.next == Next::Unaccounted,
        ),
        Property::sometimes("a flow is reset", |world, state: &State| {
            !world.fails || ended(state) == Some(End::Aborted)
        }),
    ]
}

/// The same of leaving the lane.
fn departures() -> [Property<World>; 5] {
    [
        Property::sometimes("the stream ends after it left", |world, state: &State| {
            !world.leaves || ended(state) == Some(End::Shutdown) && !state.source.is_in_map
        }),
        Property::sometimes("bytes are held while it leaves", |world, state: &State| {
            !world.leaves
                || !world.holds
                || state.daemon.next == Next::Release && !state.source.queue.is_empty()
        }),
        Property::sometimes("a walk meets it too early", |world, state: &State| {
            !world.leaves || state.daemon.is_door_open && !state.source.passed.is_empty()
        }),
        Property::sometimes("the source is out first", |world, state: &State| {
            !world.leaves || state.source.is_out && state.peer.is_in_map
        }),
        Property::sometimes("the peer is out first", |world, state: &State| {
            !world.leaves
                || state.daemon.is_door_open && state.source.is_in_map && !state.peer.is_in_map
        }),
    ]
}

fn ended(state: &State) -> Option<End> {
    match state.daemon.next {
        Next::Ended(end) => Some(end),
        _ => None,
    }
}

fn decided(state: &State) -> Option<Decision> {
    match state.source.run {
        Run::Decided(_, decision) => Some(decision),
        _ => None,
    }
}

/// Whether nothing more happens by itself.
fn is_at_rest(world: &World, state: &State) -> bool {
    !Action::ALL
        .into_iter()
        .any(|action| action.is_inner() && world.allows(state, action))
}
