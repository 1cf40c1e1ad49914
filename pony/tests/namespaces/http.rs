//! A gigabyte each way between curl and nginx.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    harness::{Launch, Pony, wait_until},
    kernel::{Losses, Mode, given_to_xdp},
    lab::{Lab, PROXY_V4, PROXY_V6, TARGET_V4, TARGET_V6, tcp},
    servers::{WebServer, folder},
    tools,
};

#[test]
fn a_gigabyte_that_is_downloaded_arrives_unchanged() {
    let Some(lab) = Lab::new() else { return };
    let server = WebServer::start(&lab.target);
    make_gigabyte(&server.file("big"));
    let pony = start(&lab, &format!("{TARGET_V4}:80"));

    let (report, received) = lab.client.enter(|| {
        let mut curl = curl(&format!("http://{PROXY_V6}:8080/big"));
        let mut curl = tools::spawn(curl.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut cksum = Command::new("cksum");
        cksum
            .stdin(curl.stdout.take().unwrap())
            .stdout(Stdio::piped());
        let cksum = tools::spawn(&mut cksum);
        let report = Report::new(&curl.wait_with_output().unwrap().stderr);
        (report, cksum.wait_with_output().unwrap().stdout)
    });

    let expected = checksum(&server.file("big"));
    assert_eq!(String::from_utf8(received).unwrap().trim(), expected);
    assert_eq!(report.body_received, GIGABYTE);
    all_agree(&lab, &pony, &report);
}

#[test]
fn a_gigabyte_that_is_uploaded_arrives_unchanged() {
    let Some(lab) = Lab::new() else { return };
    let server = WebServer::start(&lab.target);
    let here = folder();
    let file = here.path().join("big");
    make_gigabyte(&file);
    let pony = start(&lab, &format!("{TARGET_V6}:80"));

    let report = lab.client.enter(|| {
        let mut curl = curl(&format!("http://{PROXY_V4}:8080/big"));
        curl.arg("--upload-file").arg(&file);
        let curl = tools::spawn(curl.stdout(Stdio::null()).stderr(Stdio::piped()));
        Report::new(&curl.wait_with_output().unwrap().stderr)
    });

    assert_eq!(checksum(&server.file("big")), checksum(&file));
    assert_eq!(report.body_sent, GIGABYTE);
    all_agree(&lab, &pony, &report);
}

fn start(lab: &Lab, target: &str) -> Pony {
    let pony = lab.start(Launch::new(&tcp("web", 8080, target)).guard("require"));
    assert_eq!(lab.attached(), [Some(Mode::Native); 2]);
    pony
}

/// Client, kernel and daemon have counted the same.
#[track_caller]
fn all_agree(lab: &Lab, pony: &Pony, report: &Report) {
    let sent = report.headers_sent + report.body_sent;
    let counted = lab.counted(pony, "web");
    assert_eq!(counted.bytes, sent, "{}", Losses::of(&lab.client));
    let ledger = lab.ledger();
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(ledger[0].1, counted, "one client sent all");

    lab.proxy.enter(|| {
        wait_until("the connection to end", || pony.active("web") == 0);
        assert_eq!(pony.bytes("web", "sent"), sent);
        let received = report.headers_received + report.body_received;
        assert_eq!(pony.bytes("web", "received"), received);
    });
    every_packet_is_accounted_for(lab, pony);
}

/// What the drivers gave to the program is what it has counted, for one reason or another.
#[track_caller]
fn every_packet_is_accounted_for(lab: &Lab, pony: &Pony) {
    wait_until("the counts of packets to agree", || {
        let given = ["to-client", "to-target"].map(|name| given_to_xdp(&lab.proxy, name));
        let counted = lab.counted(pony, "web").packets + lab.counted_others(pony, "");
        given.iter().sum::<u64>() == counted
    });
}

fn curl(url: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--write-out", REPORT, url]);
    curl
}

/// What curl counted.
struct Report {
    headers_sent: u64,
    body_sent: u64,
    headers_received: u64,
    body_received: u64,
}

const REPORT: &str =
    "%{stderr}%{size_request} %{size_upload} %{size_header} %{size_download} %{errormsg}";

impl Report {
    #[track_caller]
    fn new(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
        let mut next = || numbers.next().unwrap_or_else(|| panic!("curl: {text}"));
        Self {
            headers_sent: next(),
            body_sent: next(),
            headers_received: next(),
            body_received: next(),
        }
    }
}

const GIGABYTE: u64 = 1 << 30;

/// Mostly holes, but no two blocks are the same, so that one which is lost or in another's place
/// changes the checksum.
fn make_gigabyte(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(GIGABYTE).unwrap();
    for at in (0..GIGABYTE).step_by(1 << 16) {
        file.write_all_at(&(at + 1).to_le_bytes(), at).unwrap();
    }
}

/// The checksum and length of a file.
fn checksum(path: &Path) -> String {
    let mut cksum = Command::new("cksum");
    cksum
        .stdin(File::open(path).unwrap())
        .stdout(Stdio::piped());
    let output = tools::spawn(&mut cksum).wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
