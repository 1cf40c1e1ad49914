//! One work at one place, done by all in turns, round after round.
//!
//! The machine is another one from minute to minute. So everybody has one short turn in each round,
//! each round begins with somebody else, and a ratio is the median of the ratios within rounds.

use std::{
    io::{self, ErrorKind},
    time::Instant,
};

use crate::{
    contestant::{Contestant, HAPROXY},
    work::Metric,
};

pub(crate) struct Section {
    pub(crate) place: &'static str,
    pub(crate) work: &'static str,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) series: Vec<Series>,
}

/// What one contestant did.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) is_judged: bool,
    /// A figure for each metric, round by round; `None`: there is none.
    rounds: Vec<Vec<Option<f64>>>,
    /// Why there are no more rounds.
    pub(crate) failure: Option<String>,
}

/// What was seen in several rounds.
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Section {
    /// Lets everybody have a turn, so many times. Whoever fails has no more turns.
    pub(crate) fn measure(
        (place, work): (&'static str, &'static str),
        metrics: Vec<Metric>,
        contestants: &mut [Contestant],
        rounds: usize,
        mut turn: impl FnMut(&mut Contestant) -> io::Result<Vec<Option<f64>>>,
    ) -> Self {
        let start = Instant::now();
        eprint!("{place}: {work} ");
        let mut series: Vec<_> = contestants.iter().map(Series::new).collect();
        for round in 0..rounds {
            for number in 0..contestants.len() {
                let number = (number + round) % contestants.len();
                series[number].add(metrics.len(), || turn(&mut contestants[number]));
            }
            eprint!(".");
        }
        eprintln!(" {:.1} s", start.elapsed().as_secs_f64());
        for failed in series.iter().filter(|series| series.failure.is_some()) {
            let failure = failed.failure.as_deref().unwrap_or_default();
            eprintln!("{place}: {work}: {}: {failure}", failed.name);
        }
        Self {
            place,
            work,
            metrics,
            series,
        }
    }

    /// Adds a metric made of others. `make` gets the figures of a contestant and those of no proxy,
    /// of the same round.
    pub(crate) fn derive(
        &mut self,
        metric: Metric,
        make: impl Fn(&[Option<f64>], &[Option<f64>]) -> Option<f64>,
    ) {
        self.metrics.push(metric);
        let base = self.series[NO_PROXY].rounds.clone();
        for (number, series) in self.series.iter_mut().enumerate() {
            for (figures, base) in series.rounds.iter_mut().zip(&base) {
                let derived = (number != NO_PROXY).then(|| make(figures, base));
                figures.push(derived.flatten());
            }
        }
    }

    /// What a contestant did, by their number and the metric's.
    pub(crate) fn summary(&self, contestant: usize, metric: usize) -> Option<Summary> {
        let rounds = &self.series[contestant].rounds;
        Summary::new(
            rounds
                .iter()
                .filter_map(|figures| figures[metric])
                .collect(),
        )
    }

    /// How many times as much as the other did.
    pub(crate) fn ratio(&self, contestant: usize, other: usize, metric: usize) -> Option<f64> {
        let [mine, others] = [contestant, other]
            .map(|number| self.series[number].rounds.iter().map(|all| all[metric]));
        let ratios = mine.zip(others).filter_map(|(mine, other)| {
            let other = other.filter(|other| *other > 0.0)?;
            Some(mine? / other)
        });
        Summary::new(ratios.collect()).map(|ratios| ratios.median)
    }

    /// The number of the one that is judged, and with whom other lanes and builds are compared.
    pub(crate) fn own(&self) -> Option<usize> {
        self.series.iter().position(|series| series.is_judged)
    }

    /// The number of HAProxy, where it can do the work.
    pub(crate) fn haproxy(&self) -> Option<usize> {
        self.series.iter().position(|series| series.name == HAPROXY)
    }

    pub(crate) fn title(&self) -> String {
        title(self.place, self.work)
    }
}

impl Series {
    fn new(contestant: &Contestant) -> Self {
        Self {
            name: contestant.name.clone(),
            is_judged: contestant.is_judged(),
            rounds: Vec::new(),
            failure: contestant.failure.clone(),
        }
    }

    fn add(&mut self, metrics: usize, turn: impl FnOnce() -> io::Result<Vec<Option<f64>>>) {
        let figures = match &self.failure {
            Some(_) => vec![None; metrics],
            None => turn().unwrap_or_else(|error| {
                let what = match error.kind() {
                    // A socket with a time limit says it like this.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => "no progress".to_owned(),
                    _ => error.to_string(),
                };
                self.failure = Some(format!("round {}: {what}", self.rounds.len() + 1));
                vec![None; metrics]
            }),
        };
        self.rounds.push(figures);
    }
}

impl Summary {
    fn new(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

/// What a section is called, and can be chosen by.
pub(crate) fn title(place: &str, work: &str) -> String {
    format!("{place}: {work}")
}

/// The number of no proxy, with whom the others are compared.
pub(crate) const NO_PROXY: usize = 0;
