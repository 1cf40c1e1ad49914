//! The command line: one file per subcommand.
//!
//! Exit codes: 0 after an ordinary stop, 1 when starting or running failed, 2 for wrong usage or
//! configuration.

mod bans;
mod check;
mod clients;
mod demo;
mod doctor;
mod load;
mod mmproxy;
mod output;
mod run;
mod version;

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};

/// A TCP and UDP proxy with access control, rate limits, logs and metrics; the kernel helps.
#[derive(Debug, Parser)]
#[command(name = "pony", disable_version_flag = true, max_term_width = 100)]
struct Cli {
    /// Print the version and what was built in, and exit.
    #[arg(short = 'V', long, global = true)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve what a configuration file says, until SIGTERM or SIGINT.
    #[command(after_help = RUN_HELP)]
    Run(run::Options),
    /// Check a configuration file: every mistake at once, each with what to write instead.
    Check(check::Options),
    /// Say what this machine lacks for a configuration, and the commands that mend it.
    Doctor(doctor::Options),
    /// Show what clients have used, as the kernel guard of a running PacketPony counts it.
    Clients(clients::Options),
    /// Ban a client from a running PacketPony for a while.
    #[command(after_help = bans::BAN_HELP)]
    Ban(bans::BanOptions),
    /// Lift the bans of a client.
    Unban(bans::UnbanOptions),
    /// Show who is banned, and for how long.
    Bans(bans::BansOptions),
    /// Stand in for go-mmproxy, with its flags: unwrap PROXY headers and keep the client's address.
    #[command(after_help = mmproxy::HELP, args_override_self = true)]
    Mmproxy(mmproxy::Options),
    /// Try it: an HTTP and a UDP echo target inside the process, and the proxy in front of them.
    Demo,
}

#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Where the original looks too, so that a unit file without `-c` goes on working.
const DEFAULT_CONFIG: &str = "/etc/packetpony/config.yaml";

const RUN_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  no new clients; open connections have server.shutdown_timeout to end
                   (a second signal cuts them at once)
  SIGHUP           reopen log files

Exit codes:
  0  ordinary stop    1  could not start or run    2  wrong usage or configuration";

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = like_the_original(std::env::args_os());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if mmproxy::has_wrong_value(&arguments, &error) => {
            output::complain(&error.render().to_string());
            return ExitCode::FAILURE;
        }
        Err(error) => return usage(&error),
    };
    if cli.version {
        output::say(&version::text());
        return ExitCode::SUCCESS;
    }
    match cli.command {
        Some(Command::Run(options)) => run::main(&options),
        Some(Command::Check(options)) => check::main(&options),
        Some(Command::Doctor(options)) => doctor::main(&options),
        Some(Command::Clients(options)) => clients::main(&options),
        Some(Command::Ban(options)) => bans::ban(&options),
        Some(Command::Unban(options)) => bans::unban(&options),
        Some(Command::Bans(options)) => bans::bans(&options),
        Some(Command::Mmproxy(options)) => mmproxy::main(&options),
        Some(Command::Demo) => demo::main(),
        None => {
            output::complain(&Cli::command().render_help().to_string());
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// Exit code for wrong usage or configuration.
const WRONG_USAGE: u8 = 2;

fn usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::say(&text);
            ExitCode::SUCCESS
        }
        _ => {
            output::complain(&text);
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// The original knows no subcommands: `-config FILE`, `-version` and `-h`, with one dash or two.
fn like_the_original(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    mmproxy::with_two_dashes(&mut arguments);
    let Some(first) = arguments.get(1).and_then(|first| first.to_str()) else {
        return arguments;
    };
    let name = first
        .strip_prefix("--")
        .or(first.strip_prefix('-'))
        .unwrap_or_default();
    if name == "version" {
        arguments[1] = OsString::from("--version");
    } else if name == "config" || name.starts_with("config=") {
        arguments[1] = OsString::from(format!("--{name}"));
        arguments.insert(1, OsStr::new("run").to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        let arguments = ["pony"].iter().chain(arguments).map(OsString::from);
        Cli::try_parse_from(like_the_original(arguments)).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_originals_flags_run_the_daemon() {
        for arguments in [
            &["-config", "a.yaml"][..],
            &["--config", "a.yaml"],
            &["-config=a.yaml"],
            &["--config=a.yaml"],
            &["run", "-c", "a.yaml"],
            &["run", "--config", "a.yaml"],
        ] {
            match parse(arguments).command {
                Some(Command::Run(options)) => {
                    assert_eq!(options.file.config, PathBuf::from("a.yaml"));
                }
                other => panic!("{arguments:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn the_version_has_the_originals_spelling_too() {
        for argument in ["-version", "--version", "-V"] {
            assert!(parse(&[argument]).version, "{argument}");
        }
    }

    #[test]
    fn run_without_a_file_uses_the_originals_place() {
        match parse(&["run"]).command {
            Some(Command::Run(options)) => {
                assert_eq!(options.file.config, PathBuf::from(DEFAULT_CONFIG));
            }
            other => panic!("{other:?}"),
        }
    }
}
