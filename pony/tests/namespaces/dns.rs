//! dig asks dnsmasq, over UDP and TCP on one port.

use std::fmt::Write as _;

use crate::{
    harness::{Launch, Pony, wait_eq},
    kernel::Traffic,
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp, udp},
    servers::DnsServer,
    tools,
};

#[test]
fn dig_gets_every_answer_and_the_kernel_counted_every_question() {
    let Some(lab) = Lab::new() else { return };
    let questions: Vec<_> = (0..QUESTIONS).map(Question::new).collect();
    let _server = DnsServer::start(&lab.target, &records(&questions));
    let pony = lab.start(
        Launch::new(&udp("dns-udp", 53, &format!("{TARGET_V4}:53")))
            .and(&tcp("dns-tcp", 53, &format!("{TARGET_V6}:53")))
            .guard("require"),
    );

    for server in [PROXY_V4, PROXY_V6] {
        ask(&lab, server, "+notcp", &questions);
        ask(&lab, server, "+tcp", &questions[..OVER_TCP]);
    }

    let sent = Traffic {
        packets: 2 * QUESTIONS as u64,
        bytes: 2 * questions.iter().map(Question::len).sum::<u64>(),
    };
    assert_eq!(lab.counted(&pony, "dns-udp"), sent);
    // Before each question over TCP goes its length, in two bytes.
    let over_tcp = questions[..OVER_TCP]
        .iter()
        .map(|question| 2 + question.len());
    let sent_over_tcp = 2 * over_tcp.sum::<u64>();
    assert_eq!(lab.counted(&pony, "dns-tcp").bytes, sent_over_tcp);
    the_daemon_counted(&lab, &pony, sent, sent_over_tcp);
}

fn the_daemon_counted(lab: &Lab, pony: &Pony, over_udp: Traffic, over_tcp: u64) {
    lab.proxy.enter(|| {
        for direction in ["sent", "received"] {
            assert_eq!(pony.packets("dns-udp", direction), over_udp.packets);
        }
        assert_eq!(pony.bytes("dns-udp", "sent"), over_udp.bytes);
        wait_eq(over_tcp, || pony.bytes("dns-tcp", "sent"));
    });
}

/// Has dig ask all this, and compares the answers.
#[track_caller]
fn ask(lab: &Lab, server: &str, transport: &str, questions: &[Question]) {
    let server = server.trim_matches(['[', ']']);
    // Asked once, and without the extension that would make questions longer by a random cookie.
    let line = format!("dig @{server} {transport} +noedns +tries=1 +short -f -");
    let batch = lines(questions.iter().map(|question| &question.asked));
    let answers = lab
        .client
        .enter(|| tools::run(&mut tools::command(&line), &batch));
    assert_eq!(
        answers,
        lines(questions.iter().map(|question| &question.answer))
    );
}

/// A name with one address, and how dig is asked for it.
struct Question {
    name: String,
    asked: String,
    answer: String,
}

impl Question {
    fn new(number: usize) -> Self {
        let name = format!("host{number}.example");
        if number.is_multiple_of(2) {
            Self {
                asked: format!("{name} A"),
                answer: format!("10.0.{}.{}", number / 256, number % 256),
                name,
            }
        } else {
            Self {
                asked: format!("{name} AAAA"),
                answer: format!("2001:db8:53::{number:x}"),
                name,
            }
        }
    }

    /// The length of the message: header, name with a length before each label and a zero at the
    /// end, type and class.
    fn len(&self) -> u64 {
        let name = self.name.len() + 2;
        (12 + name + 4) as u64
    }
}

fn records(questions: &[Question]) -> String {
    lines(
        questions
            .iter()
            .map(|question| format!("host-record={},{}", question.name, question.answer)),
    )
}

fn lines(lines: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    text
}

const QUESTIONS: usize = 300;
const OVER_TCP: usize = 40;
