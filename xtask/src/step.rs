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
    fn a_command_that_never_ends_is_cut_at_its_limit() {
        let mut command = Command::new("sleep");
        command.arg("1000");
        let status = finish(&mut command, Duration::from_millis(30)).unwrap();
        assert!(status.is_none());
    }
}
