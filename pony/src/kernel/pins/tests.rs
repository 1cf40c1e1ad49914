//! On an ordinary file system, so that they need no privileges. What the kernel pins, and where a
//! BPF file system comes from, is tested with the daemon.

use super::*;

/// A directory of which something is pinned, and which is shown.
fn pin(root: &Path, name: &str) -> Result<Pins, PinsError> {
    let pins = Pins::make(root, name)?;
    fs::write(pins.path.join("LEDGER"), "").unwrap();
    pins.rename()
}

fn names(root: &Path) -> Vec<(String, bool)> {
    let found = find(root).unwrap().into_iter();
    found.map(|found| (found.name, found.is_running)).collect()
}

fn named(name: &str, is_running: bool) -> (String, bool) {
    (name.to_owned(), is_running)
}

#[test]
fn the_directory_is_there_as_long_as_the_pins_and_only_for_us() {
    let root = tempfile::tempdir().unwrap();
    let pins = pin(root.path(), "pony.example/01").unwrap();
    let expected = root.path().join("packetpony/pony%2Eexample%2F01");
    assert_eq!(pins.path, expected);
    assert!(expected.join("LEDGER").exists());
    for path in [&expected, &root.path().join("packetpony")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
    assert_eq!(names(root.path()), [named("pony.example/01", true)]);

    drop(pins);
    assert!(!expected.exists());
    assert_eq!(names(root.path()), []);
}

#[test]
fn nobody_finds_what_is_not_complete() {
    let root = tempfile::tempdir().unwrap();
    let pins = Pins::make(root.path(), "a").unwrap();
    assert_eq!(names(root.path()), []);
    let error = Pins::make(root.path(), "a").err().unwrap();
    assert!(matches!(error, PinsError::Taken { .. }), "{error}");
    let pins = pins.rename().unwrap();
    assert_eq!(names(root.path()), [named("a", true)]);
    drop(pins);

    drop(Pins::make(root.path(), "a").unwrap());
    let left = fs::read_dir(root.path().join("packetpony")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_second_daemon_of_the_name_disturbs_nothing() {
    let root = tempfile::tempdir().unwrap();
    let first = pin(root.path(), "a").unwrap();
    let error = pin(root.path(), "a").err().unwrap();
    assert!(matches!(error, PinsError::Taken { .. }), "{error}");
    assert!(first.path.join("LEDGER").exists());
    let other = pin(root.path(), "b").unwrap();
    assert_eq!(names(root.path()), [named("a", true), named("b", true)]);
    drop(other);
    drop(first);
    pin(root.path(), "a").unwrap();
}

#[test]
fn what_a_daemon_that_died_left_behind_is_found_and_replaced() {
    let root = tempfile::tempdir().unwrap();
    for left in ["packetpony/a", "packetpony/a~"] {
        fs::create_dir_all(root.path().join(left)).unwrap();
        fs::write(root.path().join(left).join("OLD"), "").unwrap();
    }
    assert_eq!(names(root.path()), [named("a", false)]);
    let pins = pin(root.path(), "a").unwrap();
    assert!(!pins.path.join("OLD").exists());
    assert_eq!(names(root.path()), [named("a", true)]);
}

#[test]
fn looking_for_instances_takes_no_name_from_a_daemon_that_starts() {
    let root = tempfile::tempdir().unwrap();
    drop(pin(root.path(), "a").unwrap());
    fs::create_dir(root.path().join("packetpony/a")).unwrap();
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| (0..200).for_each(|_| drop(names(root.path()))));
        while !looker.is_finished() {
            drop(pin(root.path(), "a").unwrap());
        }
    });
}

#[test]
fn where_nothing_was_ever_pinned_nothing_is_found() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(names(root.path()), []);
}

#[test]
fn what_is_open_to_others_is_closed() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("packetpony");
    fs::create_dir(&base).unwrap();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    let _pins = pin(root.path(), "a").unwrap();
    let mode = fs::metadata(&base).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
