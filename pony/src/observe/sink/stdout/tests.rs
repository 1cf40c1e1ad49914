use std::{
    io::{PipeReader, Read as _, pipe},
    os::fd::OwnedFd,
};

use super::*;
use crate::{
    config::Protocol,
    observe::{
        event::{EventKind, Message},
        fixture::{event, message, record},
    },
};

fn file(end: impl Into<OwnedFd>) -> File {
    File::from(end.into())
}

fn sink(format: StdoutFormat) -> (Stdout, PipeReader, PipeReader) {
    let (out_reader, out) = pipe().unwrap();
    let (err_reader, err) = pipe().unwrap();
    (
        Stdout::new(format, file(out), file(err)),
        out_reader,
        err_reader,
    )
}

fn batch(messages: impl IntoIterator<Item = Message>) -> Batch {
    messages
        .into_iter()
        .map(|message| Record::Message(message).into())
        .collect()
}

fn read(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn information_goes_to_standard_output_and_the_rest_to_standard_error() {
    for format in [StdoutFormat::Text, StdoutFormat::Json] {
        let (mut sink, out, err) = sink(format);
        let mut batch = batch([
            message(Severity::Debug, "one"),
            message(Severity::Info, "two"),
            message(Severity::Warning, "three"),
            message(Severity::Error, "four"),
        ]);
        let close = event(EventKind::Close, Protocol::Tcp);
        let broken = crate::observe::FlowEvent {
            error: Some("reset".to_owned()),
            ..close
        };
        batch.push_back(Record::Flow(broken).into());
        sink.write(&mut batch).unwrap();
        assert!(batch.is_empty());
        drop(sink);

        let (out, err) = (read(out), read(err));
        assert_eq!(out.lines().count(), 3, "{out}");
        assert_eq!(err.lines().count(), 2, "{err}");
        assert!(out.contains("one") && out.contains("two") && out.contains("reset"));
        assert!(err.contains("three") && err.contains("four"));
    }
}

#[test]
fn lines_keep_their_order_where_both_streams_are_one() {
    let (reader, writer) = pipe().unwrap();
    let err = writer.try_clone().unwrap();
    let mut sink = Stdout::new(StdoutFormat::Text, file(writer), file(err));
    let mut batch = batch([
        message(Severity::Info, "one"),
        message(Severity::Error, "two"),
        message(Severity::Info, "three"),
    ]);
    sink.write(&mut batch).unwrap();
    drop(sink);
    let text = read(reader);
    let words: Vec<_> = text
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(words, ["one", "two", "three"]);
}

#[test]
fn a_reader_that_went_away_costs_the_lines_and_nothing_else() {
    let (mut sink, out, _err) = sink(StdoutFormat::Text);
    drop(out);
    for _ in 0..3 {
        let mut batch: Batch = [record("a"), record("b")].into();
        let failure = sink.write(&mut batch).unwrap_err();
        assert_eq!(failure.lost, 2);
        assert!(failure.error.contains("Broken pipe"), "{}", failure.error);
        assert!(batch.is_empty(), "nothing to retry, so nothing spins");
    }
}
