//! A running `pony`: where it listens, what it logs, how it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, OnceLock},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    Entry, Finished, Launch,
    launch::{control_socket, pinned_as, pony},
    wait_for,
};

/// A running process; killed when it is dropped.
pub(crate) struct Pony {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
    /// Where its metrics are, once somebody has asked.
    pub(super) metrics: OnceLock<SocketAddr>,
}

impl Pony {
    /// Starts it with this listener.
    #[track_caller]
    pub(crate) fn start(entry: &Entry) -> Self {
        Launch::new(entry).start()
    }

    pub(super) fn new(mut child: Child, folder: TempDir) -> Self {
        let lines = Arc::default();
        collect(child.stdout.take().unwrap(), &lines);
        collect(child.stderr.take().unwrap(), &lines);
        Self {
            child,
            lines,
            folder,
            metrics: OnceLock::new(),
        }
    }

    /// Waits until it serves.
    #[track_caller]
    pub(super) fn serves(&mut self) {
        wait_for("PacketPony to serve", || {
            let ended = self.child.try_wait().unwrap().map(|_| self.wait());
            let mut lines = self.json().into_iter();
            let serves = lines.any(|line| line["message"] == "PacketPony is running");
            if let Some(status) = ended.filter(|_| !serves) {
                // It says this once, not again when it is dropped.
                let lines = std::mem::take(&mut *self.lines.lock().unwrap());
                panic!("pony ended, {status}:\n{}", lines.join("\n"));
            }
            // A machine that is busy has the kernel's lane later; the tests want to know first.
            let is_tested = || {
                let lines = self.lines().join("\n");
                !lines.contains("Sockmap lane not tested yet")
                    || lines.contains("Sockmap lane ready")
                    || lines.contains("No sockmap lane")
            };
            (serves && is_tested()).then_some(())
        });
    }

    /// Where the listener of this name listens.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let started = wait_for(&format!("listener {listener}"), || {
            self.json().into_iter().find(|line| {
                let text = line["message"].as_str().unwrap_or_default();
                text.ends_with("listener started") && line["listener"] == listener
            })
        });
        started["address"].as_str().unwrap().parse().unwrap()
    }

    /// Waits for a message with this text, and returns its fields.
    #[track_caller]
    pub(crate) fn message(&self, text: &str) -> Value {
        self.nth_message(text, 0)
    }

    /// Waits until there are more than `n` messages with this text, and returns the fields of the
    /// one after these.
    #[track_caller]
    pub(crate) fn nth_message(&self, text: &str, n: usize) -> Value {
        wait_for(&format!("the message {text:?}"), || {
            self.json()
                .into_iter()
                .filter(|line| line["message"] == text)
                .nth(n)
        })
    }

    /// Waits for a message with this text of which `condition` holds.
    #[track_caller]
    pub(crate) fn message_where(&self, text: &str, condition: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("such a message {text:?}"), || {
            let mut lines = self.json().into_iter();
            lines.find(|line| line["message"] == text && condition(line))
        })
    }

    /// All events of this type (`open`, `update`, `close`) so far.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.json()
            .into_iter()
            .filter(|line| line["event_type"] == kind)
            .collect()
    }

    /// Waits for the first close event and returns it.
    #[track_caller]
    pub(crate) fn close_event(&self) -> Value {
        wait_for("a close event", || self.events("close").into_iter().next())
    }

    /// Waits for the first close event, and checks that its error contains this text; an empty
    /// text means that there must be no error.
    #[track_caller]
    pub(crate) fn closes_with(&self, text: &str) -> Value {
        let event = self.close_event();
        match event["error"].as_str() {
            None => assert!(text.is_empty(), "no error, instead of {text:?}: {event}"),
            Some(error) => assert!(!text.is_empty() && error.contains(text), "{event}"),
        }
        event
    }

    /// Sends it a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_for("the process to end", || self.child.try_wait().unwrap());
        // The last lines may still be in the pipe; who reads it lets go of `lines` at its end.
        wait_for("the last lines", || {
            (Arc::strong_count(&self.lines) == 1).then_some(())
        });
        status
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A place for files of the test.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Its control socket, if it was launched with one.
    pub(crate) fn control(&self) -> PathBuf {
        control_socket(self.folder.path())
    }

    /// Runs `pony ban`, `unban` or `bans` with these words at its control socket.
    #[track_caller]
    pub(crate) fn ask(&self, words: &[&str]) -> Finished {
        let socket = self.control();
        pony(&[words, &["--socket", socket.to_str().unwrap()]].concat())
    }

    /// Everything it wrote so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

impl Drop for Pony {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // What a killed daemon has pinned stays, and takes the kernel's memory with it.
        for name in pinned_as(self.folder.path()) {
            drop(fs::remove_dir_all(name));
        }
        if thread::panicking() {
            eprintln!("{}", self.lines().join("\n"));
        }
    }
}

fn collect(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}
