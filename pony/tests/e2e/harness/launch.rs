//! Starting `pony` with a configuration of the test's own.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{Entry, Pony};

/// How to start it.
pub(crate) struct Launch {
    wrapper: Vec<String>,
    arguments: Vec<String>,
    listeners: String,
    server: String,
    guard: String,
    admin: String,
    logging: String,
    metrics: String,
    top: String,
    folder: TempDir,
}

/// What a process that has ended left behind.
pub(crate) struct Finished {
    /// Its exit code.
    pub(crate) code: i32,
    /// Everything it wrote.
    pub(crate) output: String,
}

impl Launch {
    /// With this listener, logging JSON on standard output, and metrics on a port of its own.
    pub(crate) fn new(entry: &Entry) -> Self {
        Self {
            wrapper: Vec::new(),
            arguments: ["run", "-c", "FILE"].map(str::to_owned).to_vec(),
            listeners: entry.to_string(),
            server: String::new(),
            guard: "off".to_owned(),
            admin: "socket: off".to_owned(),
            logging: String::new(),
            metrics: "127.0.0.1:0".to_owned(),
            top: String::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Adds another listener.
    pub(crate) fn and(mut self, entry: &Entry) -> Self {
        self.listeners += &entry.to_string();
        self
    }

    /// Runs it through another program, such as `sh -c 'ulimit …; exec "$@"' sh`.
    pub(crate) fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Runs it, and what it is run through, inside of something else.
    #[allow(dead_code, reason = "only the tests in network namespaces do")]
    pub(crate) fn inside(mut self, wrapper: &[String]) -> Self {
        self.wrapper.splice(..0, wrapper.iter().cloned());
        self
    }

    /// Other arguments than `run -c FILE`. The word `FILE` is replaced wherever it stands.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Adds a key to `server:`.
    pub(crate) fn server(mut self, key_and_value: &str) -> Self {
        self.server = format!(", {key_and_value}");
        self
    }

    /// Another `guard.mode` than `off`. More keys of `guard:` may follow it, after a comma.
    #[allow(dead_code, reason = "only the tests in network namespaces do")]
    pub(crate) fn guard(mut self, mode: &str) -> Self {
        mode.clone_into(&mut self.guard);
        self
    }

    /// A control socket in the test's folder.
    pub(crate) fn control(self) -> Self {
        let path = control_socket(self.folder.path());
        self.admin(&format!("socket: {}", path.display()))
    }

    /// Other keys in `admin:` than one that switches the control socket off. The word `FOLDER` becomes
    /// the test's folder.
    pub(crate) fn admin(mut self, keys_and_values: &str) -> Self {
        let folder = self.folder.path().display().to_string();
        self.admin = keys_and_values.replace("FOLDER", &folder);
        self
    }

    /// Adds a line of its own.
    #[allow(dead_code, reason = "only the tests of the lanes do")]
    pub(crate) fn top(mut self, key_and_value: &str) -> Self {
        self.top += key_and_value;
        self.top.push('\n');
        self
    }

    /// Adds a sink to `logging:`. The word `FOLDER` becomes the test's folder.
    pub(crate) fn logging(mut self, key_and_value: &str) -> Self {
        let folder = self.folder.path().display().to_string();
        self.logging += ", ";
        self.logging += &key_and_value.replace("FOLDER", &folder);
        self
    }

    /// Another address for the metrics.
    pub(crate) fn metrics(mut self, address: impl Display) -> Self {
        self.metrics = address.to_string();
        self
    }

    /// Its `server.name`: no two may have the same, or they would pin their maps in one place.
    pub(crate) fn instance(&self) -> String {
        instance(self.folder.path())
    }

    /// A place for files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    ///
    /// With what it wrote, if it ends instead.
    #[track_caller]
    pub(crate) fn start(self) -> Pony {
        let child = self.spawn();
        let mut pony = Pony::new(child, self.folder);
        pony.serves();
        pony
    }

    /// Starts it and waits until it ends by itself.
    #[track_caller]
    pub(crate) fn finish(self) -> Finished {
        Finished::new(&self.spawn().wait_with_output().unwrap())
    }

    #[track_caller]
    fn spawn(&self) -> Child {
        let file = self.folder.path().join("config.yaml");
        fs::write(&file, self.config()).unwrap();
        let file = file.to_str().unwrap();
        let mut words: Vec<_> = self.wrapper.iter().map(String::as_str).collect();
        words.push(PONY);
        let arguments: Vec<_> = self
            .arguments
            .iter()
            .map(|word| word.replace("FILE", file))
            .collect();
        words.extend(arguments.iter().map(String::as_str));
        Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn config(&self) -> String {
        let Self {
            server,
            guard,
            admin,
            logging,
            metrics,
            top,
            listeners,
            ..
        } = self;
        let name = self.instance();
        format!(
            "server: {{ name: {name}{server} }}\n\
             guard: {{ mode: {guard} }}\n\
             admin: {{ {admin} }}\n\
             logging: {{ stdout: {{ enabled: true, use_json: true }}{logging} }}\n\
             metrics: {{ prometheus: {{ enabled: true, listen_address: \"{metrics}\", path: /metrics }} }}\n\
             {top}\
             listeners:\n{listeners}"
        )
    }
}

/// Where a daemon with this folder has its control socket, if it has one of its own.
pub(super) fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// Where a daemon with this folder pins its maps, while it starts and after that.
pub(super) fn pinned_as(folder: &Path) -> [PathBuf; 2] {
    let name = instance(folder);
    [format!("{name}~"), name].map(|name| Path::new("/sys/fs/bpf/packetpony").join(name))
}

fn instance(folder: &Path) -> String {
    let folder = folder.file_name().unwrap().to_string_lossy();
    format!("test-{}", folder.trim_start_matches('.'))
}

impl Finished {
    /// What it wrote, as JSON.
    #[track_caller]
    #[allow(dead_code, reason = "only the tests in network namespaces do")]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.output);
        serde_json::from_str(&self.output).unwrap()
    }

    fn new(output: &Output) -> Self {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text += &String::from_utf8_lossy(&output.stderr);
        Self {
            code: output.status.code().unwrap_or(-1),
            output: text,
        }
    }

    /// Checks the exit code, and that each of these texts was written.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.output);
        for text in texts {
            assert!(
                self.output.contains(text),
                "no {text:?} in:\n{}",
                self.output
            );
        }
    }
}

/// Runs `pony` with these arguments to its end.
#[track_caller]
pub(crate) fn pony(arguments: &[&str]) -> Finished {
    Finished::new(
        &Command::new(PONY)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap(),
    )
}

const PONY: &str = env!("CARGO_BIN_EXE_pony");
