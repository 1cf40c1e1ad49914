//! A proxy's process and those that it starts.

use std::{
    fs::{self, File},
    io,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Namespace;

/// Running; ended with all its children when it is dropped.
pub(crate) struct Process {
    child: Child,
    children: Vec<u32>,
}

impl Process {
    /// Starts a program in a namespace; what it has to say on standard error goes to `log`.
    ///
    /// Has to be called on the main thread: the program is told to end when the thread does.
    pub(crate) fn start(namespace: &Namespace, words: &[&str], log: &Path) -> io::Result<Self> {
        let child = Command::new("nsenter")
            .arg(format!("--net={}", namespace.path()))
            .args(["setpriv", "--pdeathsig", "TERM", "--"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()?;
        Ok(Self {
            child,
            children: Vec::new(),
        })
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Looks for the processes that it has started: they count from now on.
    pub(crate) fn find_children(&mut self) -> io::Result<()> {
        self.children.clear();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // Others may end meanwhile.
            if parent(pid).is_ok_and(|parent| parent == self.child.id()) {
                self.children.push(pid);
            }
        }
        Ok(())
    }

    /// The numbers of all its processes.
    pub(crate) fn ids(&self) -> Vec<u32> {
        [&[self.child.id()], &self.children[..]].concat()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            for id in self.ids() {
                signal(id, Signal::KILL);
            }
            drop(self.child.wait());
        }
    }
}

/// The fields of a process's `stat` behind its name: state, parent, …
pub(crate) fn stat(id: u32) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').unwrap_or_default();
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

fn parent(id: u32) -> io::Result<u32> {
    let field = stat(id)?.into_iter().nth(1);
    field
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::other("no parent in stat"))
}

fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        kill_process(pid, signal).unwrap_or_default();
    }
}

/// How long a process that is asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(1);
