use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn only_its_owner_may_use_it_and_it_goes_with_the_daemon() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    let control = Control::bind(&path).unwrap();
    let metadata = fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.uid(), geteuid().as_raw());
    drop(control);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_daemon_that_lives_keeps_it_and_one_that_died_does_not() {
    let folder = folder();
    let path = folder.path().join("control.sock");
    // What a process that was killed leaves behind.
    drop(StdListener::bind(&path).unwrap());
    let _control = Control::bind(&path).unwrap();
    let error = Control::bind(&path).err().unwrap().to_string();
    assert!(
        error.contains("admin.socket: another PacketPony"),
        "{error}"
    );
    assert!(error.contains("control.sock"), "{error}");
    StdStream::connect(&path).unwrap();
}

#[tokio::test]
async fn nothing_but_a_socket_is_removed() {
    let folder = folder();
    let path = folder.path().join("precious");
    fs::write(&path, "text").unwrap();
    let error = Control::bind(&path).err().unwrap().to_string();
    assert!(error.contains("is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");

    // Neither is one that somebody else has put there meanwhile.
    let path = folder.path().join("control.sock");
    let control = Control::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = StdListener::bind(&path).unwrap();
    drop(control);
    assert!(path.exists());
}

#[tokio::test]
async fn a_place_that_cannot_be_is_told_with_a_remedy() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let rows = [
        (
            folder.path().join("no/control.sock"),
            "a folder that is there",
        ),
        (file.join("control.sock"), "a folder that is there"),
        (folder.path().join("x".repeat(108)), "a shorter path"),
    ];
    for (path, remedy) in rows {
        let error = Control::bind(&path).err().unwrap().to_string();
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn the_usual_place_has_the_name_of_the_instance() {
    let path = usual_path("pony.example/eu west");
    let expected = "/run/packetpony/pony%2Eexample%2Feu%20west.sock";
    assert_eq!(path, Path::new(expected));
}
