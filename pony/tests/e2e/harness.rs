//! What every test needs: a running `pony`, peers to put around it, and waiting for conditions.

mod entry;
mod figures;
mod launch;
pub(crate) mod peers;
mod process;
mod resolver;

use std::{
    fmt::Debug,
    net::{Ipv6Addr, TcpListener, UdpSocket},
    thread,
    time::{Duration, Instant},
};

pub(crate) use self::{
    entry::Entry,
    launch::{Finished, Launch, pony},
    process::Pony,
    resolver::NameServer,
};

/// Looks again and again until `condition` gives a value.
///
/// # Panics
///
/// After [`PATIENCE`], saying what did not come.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "still waiting for {what}");
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until `value` is what is expected, and says what it was if that does not come.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "`wait_eq(0, ..)` reads like an assertion"
)]
pub(crate) fn wait_eq<T: PartialEq + Debug>(expected: T, mut value: impl FnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = value();
        if seen == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "still {seen:?} and not {expected:?}"
        );
        thread::sleep(POLL);
    }
}

/// A port that is free for TCP and UDP, on every address, for a test that needs it in two places.
pub(crate) fn free_port() -> u16 {
    wait_for("a free port", || {
        let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
        let port = tcp.local_addr().ok()?.port();
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).ok()?;
        Some(port)
    })
}

/// Longer than anything here takes on a busy machine; only a failure waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(2);
