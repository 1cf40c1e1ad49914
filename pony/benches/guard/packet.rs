//! Nanoseconds per packet, by `BPF_PROG_TEST_RUN`.
//!
//! The kernel measures by the clock on the wall, so whatever else the machine does adds to a run. A
//! machine that is shared is slow for seconds and then fast again: figures that are compared are
//! measured in turns, a fraction of a second apart.

use std::net::Ipv4Addr;

use aya::{TestRun as _, TestRunOptions, programs::Xdp};

use crate::{
    Effort,
    filter::{Features, Filter, Policy},
    frame::{Kind, frame},
    harness::Pony,
    lab::{ALLOWED, CLIENT, DENIED, DENIED_MASK, Lab, PORT, PROXY},
    report::Report,
    traffic::{Buffers, Sources, Traffic},
};

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let guards: Vec<_> = [
        (1, DEFAULT_CLIENTS),
        (1_000, DEFAULT_CLIENTS),
        (1_000_000, DEFAULT_CLIENTS),
        (1, MANY_CLIENTS),
    ]
    .into_iter()
    .map(|(prefixes, clients)| Guarded::start(prefixes, clients))
    .collect();
    let filters = [Features::All, Features::Addresses].map(|features| Filtered {
        features,
        deny: Filter::load(Policy::Deny, features),
        allow: Filter::load(Policy::Allow, features),
    });
    let mut bench = Bench {
        traffic: Traffic::load(),
        repeat: effort.pick(300_000, 2_000),
    };
    bench.fill(&guards, effort);

    let cases = cases(&guards, &filters);
    let mut values = vec![Vec::new(); cases.len()];
    for _ in 0..effort.pick(9, 1) {
        for (case, values) in cases.iter().zip(&mut values) {
            values.push(bench.run(case));
        }
    }
    for (case, values) in cases.iter().zip(values) {
        report.add(SECTION, &case.name, "ns", values);
    }
    bench.aims(&cases, effort, report);
}

impl Bench {
    /// Measures what is compared with an aim once more, one right after the other, so that what
    /// else the machine does concerns all of them alike.
    fn aims(&mut self, cases: &[Case<'_>], effort: Effort, report: &mut Report) {
        let case = |name: &str| cases.iter().find(|case| case.name == name).unwrap();
        let drawing = case("only drawing a source");
        let rounds = effort.pick(41, 1);

        let denied = [
            case("denied, repeated, 1 prefix"),
            case("xdp-filter: denied, repeated"),
        ];
        let ratios = self.compare(rounds, denied, |[ours, theirs]| ours / theirs);
        let name = "denied, repeated: of xdp-filter's";
        report.aim(SECTION, name, "x", ratios, 1.2);

        let random = [
            drawing,
            case("denied, random, 1 prefix"),
            case("denied, random, 1000000 prefixes"),
        ];
        let ratios = self.compare(rounds, random, |[drawing, few, many]| {
            (many - drawing) / (few - drawing)
        });
        let name = "denied, random: 1,000,000 prefixes of 1";
        report.aim(SECTION, name, "x", ratios, 2.0);

        let syns = [drawing, case("allowed SYN, random, 1 prefix")];
        let costs = self.compare(rounds, syns, |[drawing, syn]| syn - drawing);
        let name = "allowed SYN, ever new clients, without drawing";
        report.aim(SECTION, name, "ns", costs, 400.0);
    }

    fn compare<const N: usize>(
        &mut self,
        rounds: u32,
        cases: [&Case<'_>; N],
        compare: impl Fn([f64; N]) -> f64,
    ) -> Vec<f64> {
        (0..rounds)
            .map(|_| compare(cases.map(|case| self.run(case))))
            .collect()
    }
}

/// A daemon whose guard is measured.
struct Guarded {
    prefixes: u32,
    clients: u32,
    guard: Xdp,
    _lab: Lab,
    _pony: Pony,
}

impl Guarded {
    fn start(prefixes: u32, clients: u32) -> Self {
        let lab = Lab::new();
        let guard = format!("require, interfaces: [to-client], max_clients: {clients}");
        let pony = lab.start(lab.launch(prefixes).guard(&guard));
        Self {
            prefixes,
            clients,
            guard: lab.guard(),
            _lab: lab,
            _pony: pony,
        }
    }
}

/// xdp-filter, with both of its policies.
struct Filtered {
    features: Features,
    deny: Filter,
    allow: Filter,
}

impl Filtered {
    fn cases<'a>(&'a self) -> [Case<'a>; 4] {
        let name = match self.features {
            Features::All => "xdp-filter",
            Features::Addresses => "xdp-filter -f ipv4",
        };
        let case = |what: &str, filter: &'a Filter, from, sources, verdict| Case {
            name: format!("{name}: {what}"),
            program: Some(filter.program()),
            buffers: Buffers::One,
            frame: frame(Kind::Syn, from, PROXY, PORT),
            sources,
            verdict,
        };
        let (deny, allow) = (&self.deny, &self.allow);
        let denied = Ipv4Addr::from(u32::from(DENIED) | 1);
        [
            case("denied, repeated", deny, denied, None, XDP_DROP),
            case(
                "denied, random",
                deny,
                denied,
                Some(DENIED_SOURCES),
                XDP_DROP,
            ),
            case(
                "denied by its entry, repeated",
                allow,
                CLIENT,
                None,
                XDP_DROP,
            ),
            case("allowed, repeated", deny, CLIENT, None, XDP_PASS),
        ]
    }
}

/// One thing to measure.
struct Case<'a> {
    name: String,
    program: Option<&'a Xdp>,
    buffers: Buffers,
    frame: Vec<u8>,
    /// `None`: the frame as it is, again and again.
    sources: Option<Sources>,
    verdict: u32,
}

struct Bench {
    traffic: Traffic,
    repeat: u32,
}

impl Bench {
    /// Makes the ledgers full.
    fn fill(&mut self, guards: &[Guarded], effort: Effort) {
        for guard in guards {
            let kinds = [Kind::Established, Kind::Udp];
            for case in kinds.map(|kind| guard.case(kind, Some(guard.known()))) {
                let repeat = effort.pick(4 * guard.clients, 2_000);
                self.draw(&case, repeat);
            }
        }
    }

    /// Nanoseconds for each packet.
    fn run(&mut self, case: &Case<'_>) -> f64 {
        let (time, verdict) = match case.program.filter(|_| case.sources.is_none()) {
            Some(program) => test_run(program, &case.frame, self.repeat),
            None => self.draw(case, self.repeat),
        };
        assert_eq!(verdict, case.verdict, "{}", case.name);
        time
    }

    fn draw(&mut self, case: &Case<'_>, repeat: u32) -> (f64, u32) {
        let sources = case.sources.unwrap_or(ANY);
        self.traffic.aim(sources, 0);
        self.traffic.next(case.program, case.buffers);
        test_run(self.traffic.drawing(case.buffers), &case.frame, repeat)
    }
}

fn test_run(program: &Xdp, frame: &[u8], repeat: u32) -> (f64, u32) {
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).unwrap();
    (result.duration.as_secs_f64() * 1e9, result.return_value)
}

fn cases<'a>(guards: &'a [Guarded], filters: &'a [Filtered]) -> Vec<Case<'a>> {
    let mut cases = vec![
        drawing("only drawing a source", Buffers::Several),
        drawing("only drawing a source, for xdp-filter", Buffers::One),
    ];
    for guard in guards {
        cases.extend(guard.cases());
    }
    cases.extend(filters.iter().flat_map(Filtered::cases));
    cases
}

/// What it costs that every packet has another source.
fn drawing<'a>(name: &str, buffers: Buffers) -> Case<'a> {
    Case {
        name: name.to_owned(),
        program: None,
        buffers,
        frame: frame(Kind::Syn, ALLOWED, PROXY, PORT),
        sources: Some(ANY),
        verdict: XDP_PASS,
    }
}

impl Guarded {
    fn cases(&self) -> Vec<Case<'_>> {
        let kinds = [
            ("allowed SYN", Kind::Syn),
            ("allowed UDP", Kind::Udp),
            ("established TCP", Kind::Established),
        ];
        if self.clients > DEFAULT_CLIENTS {
            let known = kinds.map(|(name, kind)| {
                self.case(kind, Some(self.known())).named(&format!(
                    "{name}, random, 1 prefix, {} clients",
                    self.clients
                ))
            });
            return known.into();
        }
        let mut cases = vec![self.not_ours()];
        for (how, sources) in [("repeated", None), ("random", Some(DENIED_SOURCES))] {
            let name = format!("denied, {how}, {}", self.list());
            cases.push(self.denied(sources).named(&name));
        }
        for (name, kind) in kinds {
            for (how, sources) in [("repeated", None), ("random", Some(ALLOWED_SOURCES))] {
                let name = format!("{name}, {how}, {}", self.list());
                cases.push(self.case(kind, sources).named(&name));
            }
        }
        cases
    }

    fn not_ours(&self) -> Case<'_> {
        let mut case = self.case(Kind::Syn, None);
        case.frame = frame(Kind::Syn, CLIENT, PROXY, PORT + 1);
        case.named(&format!("not ours, repeated, {}", self.list()))
    }

    fn denied(&self, sources: Option<Sources>) -> Case<'_> {
        let from = Ipv4Addr::from(u32::from(DENIED) | 1);
        Case {
            frame: frame(Kind::Syn, from, PROXY, PORT),
            verdict: XDP_DROP,
            ..self.case(Kind::Syn, sources)
        }
    }

    fn case(&self, kind: Kind, sources: Option<Sources>) -> Case<'_> {
        Case {
            name: String::new(),
            program: Some(&self.guard),
            buffers: Buffers::Several,
            frame: frame(kind, ALLOWED, PROXY, PORT),
            sources,
            verdict: XDP_PASS,
        }
    }

    /// As many clients as the ledger has room for.
    fn known(&self) -> Sources {
        Sources {
            base: ALLOWED,
            mask: self.clients - 1,
        }
    }

    fn list(&self) -> String {
        let ending = if self.prefixes == 1 { "" } else { "es" };
        format!("{} prefix{ending}", self.prefixes)
    }
}

impl Case<'_> {
    fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }
}

const SECTION: &str = "One packet, on one core";
const ANY: Sources = Sources {
    base: Ipv4Addr::UNSPECIFIED,
    mask: u32::MAX,
};
const ALLOWED_SOURCES: Sources = Sources {
    base: ALLOWED,
    mask: 0x00ff_ffff,
};
const DENIED_SOURCES: Sources = Sources {
    base: DENIED,
    mask: DENIED_MASK,
};
/// The default of `guard.max_clients`.
const DEFAULT_CLIENTS: u32 = 1 << 16;
const MANY_CLIENTS: u32 = 1 << 20;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
