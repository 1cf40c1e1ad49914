//! A mount namespace without a name, so that what is mounted and pinned is gone with the test.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::AsRawFd as _,
    process::Stdio,
};

use crate::tools;

pub(crate) struct Mounts {
    file: File,
}

impl Mounts {
    /// With what is mounted here, and no BPF file system in its usual place.
    pub(crate) fn new() -> Self {
        let mut holder = tools::command("unshare --mount cat /proc/self/stat -");
        let mut holder = tools::spawn(holder.stdin(Stdio::piped()).stdout(Stdio::piped()));
        // Once it has written something, it is in the new namespace.
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let file = File::open(format!("/proc/{}/ns/mnt", holder.id())).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let mounts = Self { file };
        mounts.run("mount -t tmpfs none /sys/fs/bpf");
        mounts
    }

    /// What starts a program in it, before the program's own words.
    pub(crate) fn entrance(&self) -> [String; 2] {
        let (pid, fd) = (std::process::id(), self.file.as_raw_fd());
        ["nsenter".to_owned(), format!("--mount=/proc/{pid}/fd/{fd}")]
    }

    /// Runs a command in it, whose words are separated by spaces, and returns what it writes.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        let line = format!("{} {line}", self.entrance().join(" "));
        tools::run(&mut tools::command(&line), "")
    }
}
