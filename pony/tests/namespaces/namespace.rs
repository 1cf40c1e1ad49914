//! A network namespace without a name.
//!
//! Only the open file and the processes in it keep it alive, so nothing is left behind however the
//! test ends.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::{AsFd as _, AsRawFd as _},
    panic::resume_unwind,
    process::Stdio,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::tools;

pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// With nothing but loopback in it, which is down.
    pub(crate) fn new() -> Self {
        let mut holder = tools::command("unshare --net cat /proc/self/stat -");
        let mut holder = tools::spawn(holder.stdin(Stdio::piped()).stdout(Stdio::piped()));
        // Once it has written something, it is in the new namespace.
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let file = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        Self { file }
    }

    /// Where other processes find it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Does `work` on a thread in the namespace. Sockets, threads and processes that it makes stay
    /// there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let in_namespace = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.file.as_fd(), network).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(in_namespace).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a command, whose words are separated by spaces, and returns what it writes.
    pub(crate) fn run(&self, line: &str) -> String {
        self.enter(|| tools::run(&mut tools::command(line), ""))
    }

    /// Runs several commands of `ip`, one on each line.
    pub(crate) fn ip(&self, lines: &str) {
        self.enter(|| tools::run(&mut tools::command("ip -batch -"), lines));
    }
}
