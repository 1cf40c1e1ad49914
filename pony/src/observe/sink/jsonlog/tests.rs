use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::observe::{fixture::record, queue::Batch};

fn log(sink: &mut JsonLog, texts: &[&'static str]) -> Result<(), Failure> {
    let mut batch: Batch = texts.iter().map(|text| record(text)).collect();
    let written = sink.write(&mut batch);
    assert!(batch.is_empty());
    written
}

/// The texts of the messages in a file.
fn texts(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let message = |line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["message"].as_str().unwrap().to_owned()
    };
    text.lines().map(message).collect()
}

#[test]
fn appends_to_what_is_there_and_creates_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    log(&mut JsonLog::open(&path).unwrap(), &["one", "two"]).unwrap();
    log(&mut JsonLog::open(&path).unwrap(), &["three"]).unwrap();
    assert_eq!(texts(&path), ["one", "two", "three"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
    assert_eq!(mode & 0o600, 0o600);
}

#[test]
fn follows_its_path_when_the_file_is_moved_or_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let old = folder.path().join("log.json.1");
    let mut sink = JsonLog::open(&path).unwrap();
    log(&mut sink, &["one"]).unwrap();
    fs::rename(&path, &old).unwrap();
    log(&mut sink, &["two"]).unwrap();
    assert_eq!(
        (texts(&old), texts(&path)),
        (vec!["one".into()], vec!["two".into()])
    );
    fs::remove_file(&path).unwrap();
    log(&mut sink, &["three"]).unwrap();
    assert_eq!(texts(&path), ["three"]);
}

#[test]
fn opens_the_file_anew_when_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.json");
    let mut sink = JsonLog::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    sink.reopen().unwrap();
    assert!(path.exists(), "before anything is written");
}

#[test]
fn survives_a_folder_that_vanishes_and_returns() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    let path = inner.join("log.json");
    fs::create_dir(&inner).unwrap();
    let mut sink = JsonLog::open(&path).unwrap();
    fs::remove_dir_all(&inner).unwrap();
    let failure = log(&mut sink, &["one", "two"]).unwrap_err();
    assert_eq!(failure.lost, 2);
    assert!(failure.error.contains("log.json"), "{}", failure.error);
    fs::create_dir(&inner).unwrap();
    log(&mut sink, &["three"]).unwrap();
    assert_eq!(texts(&path), ["three"]);
}

#[test]
fn goes_on_in_the_old_file_when_there_can_be_no_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, moved) = (folder.path().join("inner"), folder.path().join("moved"));
    fs::create_dir(&inner).unwrap();
    let mut sink = JsonLog::open(&inner.join("log.json")).unwrap();
    fs::rename(&inner, &moved).unwrap();
    assert_eq!(log(&mut sink, &["one"]).unwrap_err().lost, 0);
    assert_eq!(texts(&moved.join("log.json")), ["one"]);
}

#[test]
fn a_full_disk_is_counted_and_survived() {
    let mut sink = JsonLog::open(Path::new("/dev/full")).unwrap();
    for _ in 0..3 {
        let failure = log(&mut sink, &["one", "two"]).unwrap_err();
        assert_eq!(failure.lost, 2);
        assert!(failure.error.contains("No space left"), "{}", failure.error);
    }
}

#[test]
fn a_named_pipe_without_a_reader_fails_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(JsonLog::open(&path).is_err());
}
