//! PROXY headers, from proxies in front and to targets.

mod accepting;
mod datagrams;
mod destination;
mod sending;
mod symptoms;
mod waiting;

use std::{fmt::Display, io::Write as _, net::TcpStream};

use crate::harness::{Entry, Pony, peers::connect};

/// A listener with this block, for clients of the documentation's addresses.
fn listener(target: impl Display, block: &str) -> Entry {
    Entry::tcp(target)
        .allow("192.0.2.0/24, \"2001:db8::/32\", 127.0.0.1")
        .with(&format!("proxy_protocol: {{ {block} }}"))
}

/// A connection that begins with this.
#[track_caller]
fn says(pony: &Pony, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect(pony.address("tcp"));
    stream.write_all(bytes.as_ref()).unwrap();
    stream
}

impl Pony {
    /// How many headers had this result.
    #[track_caller]
    fn headers(&self, result: &str) -> u64 {
        let label = format!("result=\"{result}\"");
        self.count("packetpony_proxy_headers_total", "tcp", &label)
    }
}

const REQUIRED: &str = "accept: required, trusted: [127.0.0.1]";
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: version and command, family and transport, what follows.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

/// 192.0.2.7:56324 to 198.51.100.2:443
const ENDS: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
