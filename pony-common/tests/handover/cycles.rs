//! Whether the direction can go round in circles, and so never come to rest.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

use stateright::Model;

/// The states on a circle, if there is one.
///
/// Walks depth first; a step to a state that is on the way to here closes a circle.
pub(crate) fn find<M>(model: &M) -> Option<Vec<M::State>>
where
    M: Model,
    M::State: Clone + std::hash::Hash,
{
    let hasher = RandomState::new();
    // Whether the state is on the way to here.
    let mut seen = HashMap::new();
    let mut way: Vec<(u64, M::State, Vec<M::State>)> = Vec::new();
    for state in model.init_states() {
        let mut entered = Some(state);
        loop {
            if let Some(state) = entered.take() {
                let id = hasher.hash_one(&state);
                match seen.get(&id) {
                    Some(true) => {
                        return Some(way.into_iter().map(|(_, state, _)| state).collect());
                    }
                    Some(false) => {}
                    None => {
                        seen.insert(id, true);
                        let next = model.next_states(&state);
                        way.push((id, state, next));
                    }
                }
            }
            let Some((id, _, next)) = way.last_mut() else {
                break;
            };
            entered = next.pop();
            if entered.is_none() {
                seen.insert(*id, false);
                way.pop();
            }
        }
    }
    None
}
