use std::{
    fs::{self, File},
    io::{PipeReader, Read as _, Write as _, pipe},
    os::fd::OwnedFd,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::*;
use crate::{
    config::{Host, HostPort, Logging, Protocol, StdoutFormat, SyslogTransport},
    observe::{
        event::EventKind,
        fixture::{event, wait_until},
    },
};

const LONG: Duration = Duration::from_secs(20);

fn message(text: &'static str) -> Message {
    Message::new(Severity::Info, text)
}

fn dropped(metrics: &Metrics, sink: SinkName) -> u64 {
    metrics.log_events_dropped(sink.as_str()).unwrap().get()
}

/// A log to a pipe that has room for `capacity` records in its queue.
fn piped(capacity: usize, metrics: &Metrics) -> (Log, Sinks, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    piped_into(File::from(OwnedFd::from(writer)), capacity, metrics, reader)
}

/// The same with a pipe that has no room, and how many bytes are in it.
fn stuck(capacity: usize, metrics: &Metrics) -> (Log, Sinks, PipeReader, usize) {
    let (reader, writer) = pipe().unwrap();
    let mut out = File::from(OwnedFd::from(writer));
    let flags = fcntl_getfl(&out).unwrap();
    fcntl_setfl(&out, flags | OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    for size in [4096, 1] {
        while let Ok(count) = out.write(&vec![b'x'; size]) {
            filled += count;
        }
    }
    fcntl_setfl(&out, flags).unwrap();
    let (log, sinks, reader) = piped_into(out, capacity, metrics, reader);
    (log, sinks, reader, filled)
}

fn piped_into(
    out: File,
    capacity: usize,
    metrics: &Metrics,
    reader: PipeReader,
) -> (Log, Sinks, PipeReader) {
    let err = out.try_clone().unwrap();
    let sink = OpenSink {
        name: SinkName::Stdout,
        sink: Box::new(Stdout::new(StdoutFormat::Text, out, err)),
        least: Severity::Debug,
    };
    let (log, sinks) = Log::run(vec![sink], capacity, metrics).unwrap();
    (log, sinks, reader)
}

#[test]
fn a_stuck_pipe_holds_up_neither_the_daemon_nor_its_end() {
    let metrics = Metrics::new().unwrap();
    let (log, sinks, mut reader, filled) = stuck(100, &metrics);
    let begin = Instant::now();
    for _ in 0..500 {
        log.flow(event(EventKind::Close, Protocol::Udp));
    }
    let lost = dropped(&metrics, SinkName::Stdout);
    assert!(
        lost >= 300,
        "{lost}: one hundred in the queue, and one in the sink, may be left"
    );
    let error = sinks.flush(Duration::from_millis(50)).unwrap_err();
    assert!(begin.elapsed() < LONG);
    assert_eq!(
        error.to_string(),
        "the log was not written to its end in time: stdout"
    );

    // When somebody reads again, the loss is told.
    drop(log);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let said = "[WARNING] log events lost sink=stdout lost=";
    let (losses, events): (Vec<_>, Vec<_>) =
        text[filled..].lines().partition(|line| line.contains(said));
    assert_eq!(events.len() as u64, 500 - lost);
    let told = |line: &str| -> u64 { line.rsplit('=').next().unwrap().parse().unwrap() };
    assert_eq!(losses.into_iter().map(told).sum::<u64>(), lost);
}

#[test]
fn every_sink_gets_everything_and_flush_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.json");
    let socket = folder.path().join("log");
    let server = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let logging = Logging {
        syslog: Some(config::Syslog {
            transport: SyslogTransport::Unix(socket),
            tag: "pony".to_owned(),
            priority: Severity::Warning,
        }),
        json_file: Some(file.clone()),
        ..Logging::default()
    };
    let (log, sinks) = Log::start(&logging, &Metrics::new().unwrap()).unwrap();
    log.message(message("information"));
    log.flow(event(EventKind::Close, Protocol::Tcp));
    log.message(Message::new(Severity::Error, "error"));
    sinks.flush(LONG).unwrap();

    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 3);
    let mut buffer = [0; 512];
    let count = server.recv(&mut buffer).unwrap();
    assert!(
        buffer[..count].ends_with(b": error\n"),
        "only what the priority lets through"
    );
}

#[test]
fn a_rotated_file_is_followed_at_sighup_and_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let logging = Logging {
        json_file: Some(path.clone()),
        ..Logging::default()
    };
    let (log, sinks) = Log::start(&logging, &Metrics::new().unwrap()).unwrap();
    let has = |path: &std::path::Path, text: &str| {
        wait_until(|| fs::read_to_string(path).is_ok_and(|found| found.contains(text)));
    };
    log.message(message("one"));
    has(&path, "one");
    fs::rename(&path, folder.path().join("log.json.1")).unwrap();
    log.message(message("two"));
    has(&path, "two");
    fs::rename(&path, folder.path().join("log.json.2")).unwrap();
    sinks.reopen();
    wait_until(|| path.exists());
    log.message(message("three"));
    has(&path, "three");
    has(&folder.path().join("log.json.2"), "two");
    sinks.flush(LONG).unwrap();
}

#[test]
fn what_is_logged_after_the_end_is_counted() {
    let metrics = Metrics::new().unwrap();
    let (log, sinks, _reader) = piped(100, &metrics);
    sinks.flush(LONG).unwrap();
    log.message(message("late"));
    assert_eq!(dropped(&metrics, SinkName::Stdout), 1);
}

#[test]
fn a_sink_that_cannot_be_opened_is_a_start_error_that_says_what_to_do() {
    let metrics = Metrics::new().unwrap();
    let file = Logging {
        json_file: Some("/nowhere/log.json".into()),
        ..Logging::default()
    };
    let error = Log::start(&file, &metrics).unwrap_err().to_string();
    assert!(
        error.contains("/nowhere/log.json (logging.jsonlog.path): No such file"),
        "{error}"
    );
    assert!(error.contains("create its directory"), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let address = HostPort {
        host: Host::Ip(closed.ip()),
        port: closed.port(),
    };
    for transport in [
        SyslogTransport::Tcp(address),
        SyslogTransport::Unix("/nowhere/log".into()),
    ] {
        let syslog = config::Syslog {
            transport,
            tag: "pony".to_owned(),
            priority: Severity::Info,
        };
        let logging = Logging {
            syslog: Some(syslog),
            ..Logging::default()
        };
        let error = Log::start(&logging, &metrics).unwrap_err().to_string();
        assert!(error.contains("(logging.syslog.address): "), "{error}");
        assert!(error.contains("logging.syslog.enabled: false"), "{error}");
    }
}

#[test]
fn a_log_without_sinks_takes_everything_and_ends_at_once() {
    let (log, sinks) = Log::start(&Logging::default(), &Metrics::new().unwrap()).unwrap();
    log.message(message("text"));
    Log::none().message(message("text"));
    sinks.flush(Duration::ZERO).unwrap();
}
