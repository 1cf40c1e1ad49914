//! Names as a test needs them, for the started process alone: files of its own in the place of
//! the machine's, and a name server that answers when the test says so.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use super::{Launch, wait_for};

impl Launch {
    /// With these lines as `/etc/hosts`; `None`, and a word about it, where that is not possible.
    pub(crate) fn with_hosts(self, lines: &str) -> Option<Self> {
        let file = self.folder().join("hosts");
        fs::write(&file, lines).unwrap();
        self.with_files(&[(file, "/etc/hosts")])
    }

    /// With `server` as its only source of names.
    pub(crate) fn with_name_server(self, server: &NameServer) -> Option<Self> {
        let (hosts, order) = (self.folder().join("resolv"), self.folder().join("nsswitch"));
        fs::write(&hosts, format!("nameserver {}\n", server.address())).unwrap();
        fs::write(&order, "hosts: dns\n").unwrap();
        self.with_files(&[(hosts, "/etc/resolv.conf"), (order, "/etc/nsswitch.conf")])
    }

    fn with_files(self, files: &[(PathBuf, &str)]) -> Option<Self> {
        let possible = Command::new("unshare").args(UNSHARE).arg("true").output();
        if !possible.is_ok_and(|output| output.status.success()) {
            return skip();
        }
        let mount = |(file, place): &(PathBuf, &str)| mount(file, place);
        let script: String = files
            .iter()
            .map(mount)
            .chain(["exec \"$@\"".to_owned()])
            .collect();
        Some(self.through(&[&["unshare"], UNSHARE, &["sh", "-c", &script, "sh"]].concat()))
    }
}

fn mount(file: &Path, place: &str) -> String {
    format!("mount --bind '{}' {place} && ", file.display())
}

fn skip<T>() -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "needs root");
    eprintln!("skipped, needs root");
    None
}

/// A name server that is silent until it is told to answer.
pub(crate) struct NameServer(UdpSocket);

impl NameServer {
    /// On an address of loopback that nobody else has, as name servers have no choice of ports.
    pub(crate) fn start() -> Option<Self> {
        let socket = wait_for("an address for the name server", || {
            let [high, low] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
            match UdpSocket::bind((Ipv4Addr::new(127, 53, high, low), 53)) {
                Ok(socket) => Some(Some(socket)),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some(None),
                Err(_) => None,
            }
        });
        let Some(socket) = socket else { return skip() };
        socket.set_nonblocking(true).unwrap();
        Some(Self(socket))
    }

    fn address(&self) -> IpAddr {
        self.0.local_addr().unwrap().ip()
    }

    /// Answers the queries that have come: every name is 127.0.0.1.
    pub(crate) fn answer(&self) {
        let mut query = [0; 512];
        while let Ok((len, from)) = self.0.recv_from(&mut query) {
            drop(self.0.send_to(&answer(&query[..len]), from));
        }
    }
}

/// RFC 1035, section 4: a header, the question, and for the type A one address.
fn answer(query: &[u8]) -> Vec<u8> {
    let name_len = query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..12 + name_len + 4];
    let is_a = question[name_len..name_len + 2] == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        // The name of the question, type A, class IN, one second, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

/// The first address to try, another one in each process.
static NEXT: std::sync::LazyLock<AtomicU16> = std::sync::LazyLock::new(|| {
    let [_, _, high, low] = process::id().to_be_bytes();
    AtomicU16::new(u16::from_be_bytes([high, low]).wrapping_mul(16))
});

const UNSHARE: &[&str] = &["--map-root-user", "--mount"];
