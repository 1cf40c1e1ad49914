//! Where a test runs: as root in a network namespace of its own, so that nothing of other tests
//! is in its figures.

use std::sync::{PoisonError, RwLock};

use tokio::{runtime::Builder, task::LocalSet};

use crate::namespace::Namespace;

/// What runs in a world.
pub(crate) type Test<'a> = &'a (dyn Fn() + Sync);

/// Runs `test`, next to others.
pub(crate) fn shared(test: Test) {
    let _next_to_others = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    enter(test);
}

/// Runs `test` while no other test of this program runs: for what the kernel counts for the whole
/// machine.
pub(crate) fn alone(test: Test) {
    let _alone = QUIET.write().unwrap_or_else(PoisonError::into_inner);
    enter(test);
}

/// Runs `test`, which makes namespaces of its own, next to others.
pub(crate) fn bare(test: Test) {
    let _next_to_others = QUIET.read().unwrap_or_else(PoisonError::into_inner);
    test();
}

/// Runs `work`, whose tasks all stay on this thread, and so in its namespace.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

/// Whether tests are in namespaces of their own.
pub(crate) fn is_private() -> bool {
    rustix::process::geteuid().is_root()
}

fn enter(test: Test) {
    if !is_private() {
        return test();
    }
    let namespace = Namespace::new();
    namespace.ip("link set lo up\n");
    namespace.enter(test);
}

static QUIET: RwLock<()> = RwLock::new(());
