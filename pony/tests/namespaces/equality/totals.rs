//! What the metrics say about each listener, for all scenarios from one scrape.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{PATIENCE, Pony},
    namespace::Namespace,
};

/// Values by metric and labels, such as `rate_limit_drops acl`; without those that are zero.
pub(super) type Counts = BTreeMap<String, u64>;

/// The metrics of one listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// What must be the same whoever refuses.
    pub(super) totals: Counts,
    /// What the guard saw: packets by reason and verdict.
    pub(super) guard: Counts,
    /// How many clients a limit holds back. The daemon looks once a second.
    pub(super) limited: u64,
    /// Whether it has ever been more than none.
    pub(super) was_limited: bool,
}

/// Scrapes again and again, and shows everybody the newest.
#[derive(Default)]
pub(super) struct Watch {
    newest: Mutex<Scrape>,
    news: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct Scrape {
    begun: Option<Instant>,
    listeners: HashMap<String, Figures>,
}

impl Watch {
    /// Keeps scraping while `work` is done.
    pub(super) fn during<T: Send>(
        proxy: &Namespace,
        pony: &Pony,
        work: impl FnOnce(&Self) -> T,
    ) -> T {
        let watch = Self::default();
        thread::scope(|scope| {
            scope.spawn(|| proxy.enter(|| watch.scrape(pony)));
            // Also when the work panics, or the scope would wait for ever.
            let _stop = Stop(&watch);
            work(&watch)
        })
    }

    fn scrape(&self, pony: &Pony) {
        while !self.over.load(Relaxed) {
            let begun = Some(Instant::now());
            let (_, text) = pony.http("/metrics");
            let listeners = parse(&text);
            self.newest.lock().unwrap().replace(begun, listeners);
            self.news.notify_all();
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the figures of a listener are as they should be.
    ///
    /// # Panics
    ///
    /// If that does not come; `what` says what is missing, given the last ones.
    #[track_caller]
    pub(super) fn wait(
        &self,
        listener: &str,
        are_right: impl Fn(&Figures) -> bool,
        what: impl Fn(&Figures) -> String,
    ) {
        let asked = Instant::now();
        let mut scrape = self.newest.lock().unwrap();
        loop {
            let is_new = scrape.begun.is_some_and(|begun| begun > asked);
            let figures = scrape.listeners.get(listener);
            if is_new && figures.is_some_and(&are_right) {
                return;
            }
            if asked.elapsed() > PATIENCE {
                let figures = figures.cloned().unwrap_or_default();
                drop(scrape);
                panic!("{listener}: {}", what(&figures));
            }
            (scrape, _) = self.news.wait_timeout(scrape, PATIENCE).unwrap();
        }
    }
}

impl Scrape {
    fn replace(&mut self, begun: Option<Instant>, mut listeners: HashMap<String, Figures>) {
        for (listener, figures) in &mut listeners {
            let before = self.listeners.get(listener);
            let was_limited = before.is_some_and(|before| before.was_limited);
            figures.was_limited = was_limited || figures.limited > 0;
        }
        *self = Self { begun, listeners };
    }
}

struct Stop<'a>(&'a Watch);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Relaxed);
    }
}

fn parse(text: &str) -> HashMap<String, Figures> {
    let mut listeners: HashMap<String, Figures> = HashMap::new();
    for line in text.lines() {
        let Some(series) = line.strip_prefix("packetpony_") else {
            continue;
        };
        let (series, value) = series.rsplit_once(' ').unwrap();
        let Some((name, labels)) = series.split_once('{') else {
            continue;
        };
        let (mut listener, mut key) = (None, name.trim_end_matches("_total").to_owned());
        for label in labels.trim_end_matches('}').split(',') {
            match label.split_once('=').unwrap() {
                ("listener", value) => listener = Some(value.trim_matches('"')),
                ("protocol", _) => {}
                (_, value) => write!(key, " {}", value.trim_matches('"')).unwrap(),
            }
        }
        if let Some(listener) = listener
            && !key.starts_with("connection_duration")
        {
            let figures = listeners.entry(listener.to_owned()).or_default();
            figures.note(key, value.parse().unwrap());
        }
    }
    listeners
}

impl Figures {
    fn note(&mut self, key: String, value: u64) {
        if key == "limited_clients" {
            self.limited = value;
            return;
        }
        let (counts, key) = match key.strip_prefix("guard_packets ") {
            Some(verdict) => (&mut self.guard, verdict.to_owned()),
            None if key.starts_with("guard_") => return,
            None => (&mut self.totals, key),
        };
        if value > 0 {
            counts.insert(key, value);
        }
    }
}

/// Leaves some of the machine to those who are watched.
const PAUSE: Duration = Duration::from_millis(10);
