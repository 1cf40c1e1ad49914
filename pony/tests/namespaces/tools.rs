//! The programs that the tests run.

use std::{
    io::{self, Write as _},
    process::{Child, Command, Stdio},
};

/// A program that is started, or a panic that says how to get it.
#[track_caller]
pub(crate) fn spawn(command: &mut Command) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let package = PACKAGES.iter().find(|(name, _)| *name == program);
            let package = package.map_or("", |(_, package)| package);
            panic!(
                "{program} is missing; install Debian's package {package}, \
                 or everything that tests need with `cargo xtask setup --for test`"
            )
        }
        Err(error) => panic!("cannot start {program}: {error}"),
    }
}

/// Runs a program to its good end, with this standard input, and returns what it wrote.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(command);
    // A program that ends without reading all of it says why on its standard error.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}{text}");
    text
}

/// A program with its arguments, which are separated by spaces.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// A child that is killed when it is dropped.
pub(crate) struct Running(Child);

impl Running {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(spawn(command.stdin(Stdio::null())))
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const PACKAGES: [(&str, &str); 12] = [
    ("bpftool", "bpftool"),
    ("cksum", "coreutils"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("ethtool", "ethtool"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];
