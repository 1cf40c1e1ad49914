//! Loading from the file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_file_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pony.yaml");
    fs::write(&path, file_with(&[])).unwrap();
    assert_eq!(load(&path).unwrap().config.server.name, "here");
}

#[test]
fn what_cannot_be_read_is_one_problem_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let rows = [
        (
            folder.path().join("missing"),
            "No such file",
            "check the path",
        ),
        (
            folder.path().to_path_buf(),
            "Is a directory",
            "name the file in this folder",
        ),
        (
            file("latin1", b"a: 1\nb: \xe4\n"),
            "is not text in UTF-8",
            "save the file as UTF-8",
        ),
        (
            file("utf16", b"\xff\xfea\x00"),
            "is not text in UTF-8",
            "save the file as UTF-8",
        ),
        (
            file("huge", &vec![b'#'; (16 << 20) + 1]),
            "is larger than 16 MiB",
            "@FILE",
        ),
    ];
    for (path, message, remedy) in rows {
        let errors = load(&path).unwrap_err();
        assert_eq!(errors.problems.len(), 1);
        let text = errors.to_string();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
        assert!(text.contains(message) && text.contains(remedy), "{text}");
    }
    assert_eq!(
        load(&folder.path().join("latin1")).unwrap_err().problems[0].line,
        Some(2)
    );
}

#[test]
fn a_file_that_may_not_be_read_is_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.yaml");
    fs::write(&path, file_with(&[])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        // Root reads everything; the wording is what remains to be checked.
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(
            document::unreadable(&error)
                .remedy
                .contains("let the user that runs pony read it")
        );
        return;
    }
    let text = load(&path).unwrap_err().to_string();
    assert!(
        text.contains("Permission denied") && text.contains("let the user"),
        "{text}"
    );
}
