//! Running commands so that a person can follow: what is done now, and how long it took.
//!
//! Everything that xtask says goes to stderr through this module; stdout belongs to the commands.
#![expect(
    clippy::print_stderr,
    reason = "the one place where xtask talks to people"
)]

use std::{
    fmt::Display,
    io::{Read as _, Seek as _, Write as _},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// Says what happens next.
pub(crate) fn say(text: impl Display) {
    eprintln!("==> {text}");
}

/// Adds a detail to what was said before.
pub(crate) fn note(text: impl Display) {
    for line in text.to_string().lines() {
        eprintln!("    {line}");
    }
}

/// Says that something is less than it could be, although the task goes on.
pub(crate) fn warn(text: impl Display) {
    eprintln!("warning: {text}");
}

/// Says why the task ends here.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}

/// Runs a command whose output people want to see, and returns how it ended.
pub(crate) fn loud(what: &str, command: &mut Command) -> Result<ExitStatus> {
    say(format_args!("{what} …"));
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let ended = if status.success() { "done" } else { "FAILED" };
    say(format_args!("{what}: {ended}, {}", took(start.elapsed())));
    Ok(status)
}

/// Like [`loud`], and gives every line that the command writes to `hear` as well.
pub(crate) fn overheard(
    what: &str,
    command: &mut Command,
    hear: &mut dyn FnMut(&str),
) -> Result<ExitStatus> {
    // One pipe for both streams, so that the lines keep their order.
    let (mut reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    say(format_args!("{what} …"));
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    // The command would keep the pipe open.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (sender, pieces) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 13];
        while let Ok(len @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut lines = Lines::default();
    loop {
        match pieces.recv_timeout(SILENCE) {
            Ok(piece) => {
                std::io::stdout().write_all(&piece)?;
                std::io::stdout().flush()?;
                lines.hear(&piece, hear);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // A process that it has left behind may keep the pipe open.
            Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let status = child.wait()?;
    let ended = if status.success() { "done" } else { "FAILED" };
    say(format_args!("{what}: {ended}, {}", took(start.elapsed())));
    Ok(status)
}

/// Makes lines of pieces of a text.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn hear(&mut self, piece: &[u8], hear: &mut dyn FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                hear(&String::from_utf8_lossy(&self.begun));
                self.begun.clear();
            }
        }
    }
}

/// Like [`loud`], for commands that must succeed.
pub(crate) fn loud_ok(what: &str, command: &mut Command) -> Result<()> {
    let status = loud(what, command)?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command whose output matters only when it fails or takes longer than `limit`.
pub(crate) fn quiet(
    workspace: &Workspace,
    what: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<()> {
    eprint!("==> {what} … ");
    std::io::stderr().flush().context("stderr is closed")?;
    let start = Instant::now();
    let outcome = captured(workspace, command, limit);
    let ended = if outcome.is_ok() { "" } else { "FAILED, " };
    eprintln!("{ended}{}", took(start.elapsed()));
    outcome
}

/// Runs a command for its output; `None` if it can't be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A duration as people say it.
pub(crate) fn took(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A file takes the output, so that no pipe can fill up while nobody reads it.
fn captured(workspace: &Workspace, command: &mut Command, limit: Duration) -> Result<()> {
    std::fs::create_dir_all(workspace.target())?;
    let path = workspace
        .target()
        .join(format!("xtask-{}.log", std::process::id()));
    let mut log = std::fs::File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::remove_file(&path)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    let failed = match finish(command, limit)? {
        Some(status) if status.success() => return Ok(()),
        Some(status) => status.to_string(),
        None => format!("not done after {}", took(limit)),
    };
    let mut text = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut text)?;
    bail!(
        "{} failed: {failed}\n{}",
        shown(command),
        last_lines(&String::from_utf8_lossy(&text), 30)
    );
}

/// Waits for the command, but no longer than `limit`: then it is killed, and the answer is `None`.
fn finish(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// When nothing comes for so long, it is time to look whether the command has ended.
const SILENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(took(Duration::from_millis(340)), "0.3 s");
        assert_eq!(took(Duration::from_secs(48)), "48 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "it's", "a b"]);
        assert_eq!(shown(&command), r"cargo test 'it'\''s' 'a b'");
    }

    #[test]
    fn only_the_end_of_a_long_output_is_shown() {
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }

    #[test]
    fn what_is_overheard_is_heard_by_lines_and_not_beyond_the_end() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "printf 'one\\ntw'; printf 'o\\n' >&2; sleep 1000 & echo $!; exit 3",
        ]);
        let mut heard = Vec::new();
        let mut hear = |line: &str| heard.push(line.trim_end().to_owned());
        let status = overheard("a test", &mut command, &mut hear).unwrap();
        let left_behind = heard.pop().unwrap();
        let killed = Command::new("kill").arg(left_behind).status().unwrap();
        assert!(killed.success(), "it does not wait for what is left behind");
        assert_eq!(
            (status.code(), heard),
            (Some(3), vec!["one".to_owned(), "two".to_owned()])
        );
    }

    #[test]
    fn a_command_that_never_ends_is_cut_at_its_limit() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let status = finish(&mut command, Duration::from_millis(30)).unwrap();
        assert!(status.is_none());
    }
}
