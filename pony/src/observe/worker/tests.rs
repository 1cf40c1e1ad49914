use std::sync::Mutex;

use prometheus::IntCounter;

use super::*;
use crate::observe::{
    fixture::{record, wait_until},
    text,
};

/// What a scripted sink answers to one batch.
#[derive(Clone, Copy)]
enum Answer {
    Write,
    /// Fail, and let the batch be tried again.
    Retry,
    /// Fail for good.
    Lose,
}

/// Answers by a script, the last answer for ever, and keeps what was written.
#[derive(Clone)]
struct Scripted(Arc<Mutex<Script>>);

struct Script {
    answers: Vec<Answer>,
    written: Vec<String>,
    calls: usize,
}

impl Scripted {
    fn new(mut answers: Vec<Answer>) -> Self {
        answers.reverse();
        let script = Script {
            answers,
            written: Vec::new(),
            calls: 0,
        };
        Self(Arc::new(Mutex::new(script)))
    }

    fn written(&self) -> Vec<String> {
        self.0.lock().unwrap().written.clone()
    }
}

impl Sink for Scripted {
    fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let mut script = self.0.lock().unwrap();
        let last = script.answers[0];
        let answer = if script.answers.len() > 1 {
            script.answers.pop()
        } else {
            Some(last)
        };
        script.calls += 1;
        let failure = |lost| Failure {
            lost,
            error: "broken".to_owned(),
        };
        match answer.unwrap() {
            Answer::Write => {
                let texts = batch.drain(..).map(|record| match &*record {
                    Record::Message(message) => fields(message),
                    Record::Flow(_) => "flow".to_owned(),
                });
                script.written.extend(texts);
                Ok(())
            }
            Answer::Retry => Err(failure(0)),
            Answer::Lose => Err(failure(batch.drain(..).len() as u64)),
        }
    }
}

/// A message without its time.
fn fields(message: &Message) -> String {
    text::SyslogText(&Record::Message(message.clone())).to_string()
}

struct Set {
    script: Scripted,
    queue: Arc<Queue>,
    other: Arc<Queue>,
    dropped: IntCounter,
    done: mpsc::Receiver<SinkName>,
}

fn start(answers: Vec<Answer>, before: &[&'static str]) -> Set {
    let counter = || IntCounter::new("dropped", "dropped").unwrap();
    let dropped = counter();
    let queue = Arc::new(Queue::new(4, dropped.clone()));
    let other = Arc::new(Queue::new(4, counter()));
    for text in before {
        queue.push(record(text));
    }
    let script = Scripted::new(answers);
    let (sender, done) = mpsc::channel();
    let worker = Worker {
        name: SinkName::Syslog,
        sink: Box::new(script.clone()),
        queue: Arc::clone(&queue),
        others: vec![Arc::clone(&other)],
    };
    worker.spawn(sender).unwrap();
    Set {
        script,
        queue,
        other,
        dropped,
        done,
    }
}

impl Set {
    fn end(&self) {
        self.queue.close();
        self.done.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn writes_everything_before_it_ends() {
    let set = start(vec![Answer::Write], &["one", "two"]);
    set.queue.push(record("three"));
    set.end();
    assert_eq!(set.script.written(), ["one", "two", "three"]);
    assert_eq!(set.dropped.get(), 0);
}

#[test]
fn tries_again_after_a_pause_and_loses_nothing() {
    let set = start(
        vec![Answer::Retry, Answer::Retry, Answer::Write],
        &["one", "two"],
    );
    wait_until(|| set.script.written().len() == 2);
    set.end();
    assert_eq!(set.script.written(), ["one", "two"]);
    assert_eq!(set.dropped.get(), 0);
}

#[test]
fn says_in_the_sink_itself_how_much_did_not_fit() {
    let set = start(vec![Answer::Write], &["1", "2", "3", "4", "5", "6"]);
    set.end();
    let said = "log events lost sink=syslog lost=2";
    assert_eq!(set.script.written(), ["1", "2", "3", "4", said]);
    assert_eq!(set.dropped.get(), 2);
}

#[test]
fn says_what_a_failing_sink_lost_once_it_works_again() {
    let set = start(vec![Answer::Lose, Answer::Write], &["one", "two"]);
    wait_until(|| set.dropped.get() == 2);
    set.queue.push(record("three"));
    set.end();
    assert_eq!(
        set.script.written(),
        ["three", "log events lost sink=syslog lost=2"]
    );
}

#[test]
fn tells_the_other_sinks_about_a_failure() {
    let set = start(vec![Answer::Lose], &["one", "two"]);
    let mut batch = Batch::new();
    set.other.take(&mut batch, None);
    let Record::Message(message) = &*batch[0] else {
        panic!("a failure is a message");
    };
    assert_eq!(
        fields(message),
        "log sink failed sink=syslog lost=2 error=\"broken\""
    );
    set.queue.push(record("three"));
    set.end();
    batch.clear();
    set.other.take(&mut batch, Some(Duration::ZERO));
    assert!(batch.is_empty(), "at most once per second");
}

#[test]
fn gives_up_after_one_last_try_when_it_shall_end() {
    let set = start(vec![Answer::Retry], &["one", "two"]);
    wait_until(|| set.script.0.lock().unwrap().calls > 0);
    set.end();
    assert_eq!(set.dropped.get(), 2, "given up, and counted");
}

#[test]
fn pauses_grow_and_stay_bounded() {
    let pauses: Vec<_> = [1, 2, 3, 7, 8, 1000]
        .map(|n| pause_after(n).as_millis())
        .into();
    assert_eq!(pauses, [100, 200, 400, 6400, 10_000, 10_000]);
}
