//! The lanes, and how a daemon is told to take one.
//!
//! This is the only place that knows the keys for them.

use std::fmt::{self, Display};

use crate::{
    dice,
    harness::{Entry, Launch},
    lab,
    world::Test,
};

/// How the bytes of a flow are moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lane {
    /// As the daemon sees fit.
    Auto,
    Copy,
    Splice,
    Sockmap,
    /// Another one at random moments.
    Shuffle,
}

/// Makes a test of each of these functions for each lane, named after both.
macro_rules! in_every_lane {
    ($($run:ident: $($test:ident),+ $(,)?);+ $(;)?) => {$($(
        mod $test {
            use crate::{lane::Lane, world};

            #[test]
            fn auto() {
                Lane::Auto.test(world::$run, super::$test);
            }

            #[test]
            fn copy() {
                Lane::Copy.test(world::$run, super::$test);
            }

            #[test]
            fn splice() {
                Lane::Splice.test(world::$run, super::$test);
            }

            #[test]
            fn sockmap() {
                Lane::Sockmap.test(world::$run, super::$test);
            }

            #[test]
            fn shuffle() {
                Lane::Shuffle.test(world::$run, super::$test);
            }
        }
    )+)+};
}

impl Lane {
    /// Runs `test` with this lane in a world, if there is this lane.
    pub(crate) fn test(self, world: fn(Test), test: fn(Self)) {
        if self.is_available() {
            world(&|| test(self));
        }
    }

    /// Whether it can be had here; if not, says so, and fails in CI.
    fn is_available(self) -> bool {
        self != Self::Sockmap || lab::is_root()
    }

    /// A TCP listener whose flows take this lane, with more keys for its block `tcp:`.
    pub(crate) fn listener(self, target: impl Display, tcp: &str) -> Entry {
        self.with_lane(Entry::tcp(target), tcp)
    }

    /// This listener with this lane, and with more keys for its block `tcp:`.
    pub(crate) fn with_lane(self, entry: Entry, tcp: &str) -> Entry {
        let entry = if tcp.is_empty() {
            entry
        } else {
            entry.tcp_keys(tcp)
        };
        entry.lane(self.key())
    }

    /// How to start a daemon with listeners of this lane.
    pub(crate) fn launch(self, entry: &Entry) -> Launch {
        let launch = Launch::new(entry);
        if self != Self::Shuffle {
            return launch;
        }
        let seed = dice::seed();
        lab::report(&format!("{SHUFFLE}=shuffle:{seed}\n"));
        launch.through(&["env", &format!("{SHUFFLE}=shuffle:{seed}")])
    }

    fn key(self) -> &'static str {
        match self {
            Self::Auto | Self::Shuffle => "auto",
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
        }
    }
}

impl Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shuffle => "shuffle",
            lane => lane.key(),
        })
    }
}

impl Launch {
    /// With so many threads.
    pub(crate) fn threads(self, count: usize) -> Self {
        self.server(&format!("threads: {count}"))
    }

    /// With at most so many bytes in flight.
    pub(crate) fn memory(self, bytes: u64) -> Self {
        self.top(&format!("tcp: {{ memory: {bytes}B }}"))
    }
}

/// Tells a daemon to change lanes at random moments. For tests alone.
const SHUFFLE: &str = "PONY_TEST_LANES";

#[test]
fn a_lane_stands_beside_the_other_keys_of_the_block_and_instead_of_another_lane() {
    let entry = Entry::tcp("127.0.0.1:9").lane("copy");
    let entry = entry
        .tcp_keys("idle_timeout: 1s")
        .lane("splice")
        .to_string();
    assert!(
        entry.contains("tcp: { idle_timeout: 1s, lane: splice, }"),
        "{entry}"
    );
}
