//! What `cargo xtask bench lanes` was told, in the environment.

use std::{env, time::Duration};

use crate::contestant::{Build, OWN_BUILD};

pub(crate) struct Options {
    pub(crate) effort: Effort,
    /// Only sections whose title contains this.
    pub(crate) only: String,
    /// The build at hand, and others.
    pub(crate) builds: Vec<Build>,
    /// The lanes of each, if it knows them.
    pub(crate) lanes: Vec<String>,
}

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Whether the figures mean nothing.
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    /// How long one contestant does one work in one round.
    pub(crate) turn: Duration,
}

impl Effort {
    /// One number for a real measurement, another for a look whether it works.
    pub(crate) const fn pick(self, full: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { full }
    }
}

impl Options {
    pub(crate) fn read() -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        let is_quick = env::var_os("PONY_BENCH_QUICK").is_some();
        let (rounds, turn) = if is_quick { (1, 100) } else { (9, 1000) };
        let rounds = text("PONY_BENCH_ROUNDS").parse().unwrap_or(rounds);
        let mut builds = vec![Build {
            name: OWN_BUILD.to_owned(),
            path: env!("CARGO_BIN_EXE_pony").into(),
        }];
        builds.extend(text("PONY_BENCH_PONIES").lines().map(|line| {
            let (name, path) = line.split_once('=').expect("NAME=PATH");
            Build {
                name: name.to_owned(),
                path: path.into(),
            }
        }));
        let lanes = env::var("PONY_BENCH_VARIANTS").unwrap_or_else(|_| LANES.to_owned());
        Self {
            effort: Effort {
                is_quick,
                rounds,
                turn: Duration::from_millis(turn),
            },
            only: text("PONY_BENCH_ONLY"),
            builds,
            lanes: lanes.split(',').map(str::to_owned).collect(),
        }
    }
}

const LANES: &str = "auto,copy,splice,sockmap";
