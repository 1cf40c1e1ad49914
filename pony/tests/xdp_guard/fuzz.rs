//! Any frame at all: the corpus and what becomes of it when it is damaged, on the host and in the
//! kernel.
//!
//! The damage is random but the same with every run, so that a failure can be repeated. A frame
//! that has once been misjudged belongs into `corpus/`, as hexadecimal text.

use std::{env, fs, path::Path};

use pony_common::{
    addr::Addr16,
    layout::{
        block::{ALL_LISTENERS, Scope},
        policy::Rule,
    },
    limit::Action,
    reason::Reason,
    time::Nanos,
};
use pony_ebpf::fixtures::rows;

use crate::{
    guard::{Guard, Run, SHORTEST, XDP_PASS, XDP_TX},
    is_root,
    model::Model,
    setup::{Setup, access, limited},
    verdicts::now,
};

#[test]
fn no_frame_makes_the_host_panic_or_change_what_it_passes() {
    let mut model = Model::new(&setup());
    let start = now();
    let frames = Damaged::new().take(count(200_000));
    for (at, frame) in (0..).zip(frames) {
        // A minute passes with every few hundred frames, so that windows and memories end too.
        let later = Nanos(start.0 + at * 200_000_000);
        let run = model.run(&frame, later);
        check(&frame, &run);
        model.send(&frame, later);
    }
}

#[test]
fn the_kernel_and_the_host_agree_on_every_frame() {
    if !is_root() {
        return;
    }
    agree_on_every_frame(&setup());
}

#[test]
fn on_ports_that_others_use_too_the_kernel_and_the_host_agree_on_every_frame() {
    if !is_root() {
        return;
    }
    agree_on_every_frame(&setup().shared());
}

fn agree_on_every_frame(setup: &Setup) {
    let (guard, mut model) = (Guard::new(setup), Model::new(setup));
    let frames = corpus().into_iter().chain(Damaged::new());
    let frames = frames.filter(|frame| frame.len() >= SHORTEST);
    for (at, frame) in frames.take(count(30_000)).enumerate() {
        let run = guard.run(&frame);
        check(&frame, &run);
        assert_eq!(run, model.run(&frame, now()), "frame {at}: {}", hex(&frame));
        if at % 3 == 0 && guard.send(&frame).is_some() {
            model.send(&frame, now());
        }
    }
    assert_eq!(guard.counts(), model.counts());
}

/// What holds whatever the frame.
#[track_caller]
fn check(frame: &[u8], run: &Run) {
    match run.action {
        XDP_PASS => assert_eq!(run.frame, frame, "{}", hex(frame)),
        XDP_TX => assert!(run.frame.len() <= frame.len(), "{}", hex(frame)),
        _ => {}
    }
}

/// A guard with some of everything.
fn setup() -> Setup {
    let lists = access(
        &["192.0.0.0/8", "2001:db8::/33"],
        &["192.0.2.128/25", "2001:db8:1:80::/57"],
        &["192.0.2.64/28"],
    );
    let rule = Rule {
        reset: true,
        ..limited(50, 5_000, Action::Drop)
    };
    let client = Addr16::from_v4([192, 0, 2, 5]).0;
    let later = Nanos(now().0 + 3_600_000_000_000);
    Setup::open()
        .with(&lists, rule)
        .block(0, client, (Reason::AttemptLimit, Scope::New, later))
        .block(
            ALL_LISTENERS,
            client,
            (Reason::ConnectionLimit, Scope::All, later),
        )
}

/// How many frames: more when asked for, to fuzz for hours.
fn count(usual: usize) -> usize {
    let asked = env::var("PONY_FUZZ_FRAMES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(usual)
}

/// The frames of the corpus and the fixtures.
fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/xdp_guard/corpus");
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let kept = paths
        .iter()
        .map(|path| unhex(&fs::read_to_string(path).unwrap()));
    let fixtures = rows().into_iter().map(|row| row.frame);
    kept.chain(fixtures.filter(|frame| frame.len() <= LONGEST))
        .collect()
}

/// Frames of the corpus with random damage, without end.
struct Damaged {
    corpus: Vec<Vec<u8>>,
    state: u64,
}

impl Damaged {
    fn new() -> Self {
        Self {
            corpus: corpus(),
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let random = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(random).unwrap() % bound
    }

    fn pick(&mut self) -> Vec<u8> {
        let which = self.below(self.corpus.len());
        self.corpus[which].clone()
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        // Mostly in the headers.
        let at = self.below(frame.len().min(120));
        match self.below(8) {
            0 => frame[at] ^= 1 << self.below(8),
            1 => frame[at] = INTERESTING[self.below(INTERESTING.len())],
            2 | 3 => frame[at] = u8::try_from(self.below(256)).unwrap(),
            4 => frame.truncate(at),
            5 => frame.resize((frame.len() + self.below(64)).min(LONGEST), 0),
            6 => {
                let other = self.pick();
                frame.truncate(at);
                frame.extend(other.get(at..).unwrap_or_default());
            }
            _ => {
                let tag = [0x81, 0, 0, 7];
                frame.splice(at.min(12)..at.min(12), tag);
            }
        }
    }
}

impl Iterator for Damaged {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut frame = self.pick();
        for _ in 0..self.below(5) {
            self.damage(&mut frame);
        }
        Some(frame)
    }
}

fn hex(frame: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
    let digits = frame.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

const INTERESTING: [u8; 9] = [0, 1, 4, 6, 17, 44, 60, 0x7f, 0xff];
const LONGEST: usize = 2_000;
