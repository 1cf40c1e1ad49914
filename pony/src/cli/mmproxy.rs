//! `pony mmproxy`: the flags of go-mmproxy, and the configuration that they stand for.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::error::ErrorKind;
use serde_json::to_string;

use super::{output, run};
use crate::config;

/// The flags, with go-mmproxy's names and defaults.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Where to listen. 0.0.0.0 and [::] are both families.
    #[arg(long = "l", value_name = "HOST:PORT", default_value = "0.0.0.0:8443")]
    listen: String,
    /// The protocol: tcp or udp.
    #[arg(long = "p", value_name = "PROTOCOL", default_value = "tcp", value_parser = ["tcp", "udp"])]
    protocol: String,
    /// Where IPv4 clients are forwarded to.
    #[arg(long = "4", value_name = "HOST:PORT", default_value = "127.0.0.1:443")]
    target_v4: String,
    /// Where IPv6 clients are forwarded to.
    #[arg(long = "6", value_name = "HOST:PORT", default_value = "[::1]:443")]
    target_v6: String,
    /// Refusals and errors are always logged, once a second at most. 1: and connections that broke, or were
    /// closed before their header. 2: and every connection with its states.
    #[arg(long = "v", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    verbosity: u8,
    /// The mark of the packets to the targets (`SO_MARK`). 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    mark: u32,
    /// How many threads serve TCP clients, each with a socket of its own. 1: one for each processor.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    listeners: u16,
    /// Who may connect: a file with one prefix a line and # comments. Without it: everybody. A file
    /// without prefixes: nobody.
    #[arg(long, value_name = "FILE")]
    allowed_subnets: Option<PathBuf>,
    /// Forward to the destination in the PROXY header.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    dynamic_destination: bool,
    /// Take clients of other addresses that a TPROXY rule sends here.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = clap::ArgAction::Set)]
    listen_transparent: bool,
    /// After how long without a datagram a UDP session ends.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    close_after: u32,
    /// Print the configuration that these flags stand for, and exit.
    #[arg(long)]
    print_config: bool,
    /// Ignored, as go-mmproxy does.
    #[arg(hide = true)]
    rest: Vec<String>,
}

pub(super) const HELP: &str = "\
Each flag may have one dash or two, and a space or = before its value.

Every TCP connection, and every datagram, must begin with a PROXY header (v1 or v2; UDP: v2).
The target sees the client's address. That needs root or CAP_NET_ADMIN, and the same routes as
go-mmproxy: `pony mmproxy … -print-config > FILE` and `pony doctor -c FILE` say which are missing.

Exit codes:
  0  ordinary stop    1  could not start or run, wrong values    2  unknown flags";

/// With two dashes what has one after `mmproxy`, which is what clap understands.
pub(super) fn with_two_dashes(arguments: &mut [OsString]) {
    if !is_asked_for(arguments) {
        return;
    }
    for argument in &mut arguments[2..] {
        let Some(text) = argument.to_str() else {
            continue;
        };
        if matches!(text, "-h" | "-help") {
            *argument = OsString::from("--help");
        } else if text.starts_with('-') && !text.starts_with("--") && text.len() > 1 {
            *argument = OsString::from(format!("-{text}"));
        }
    }
}

/// Whether it was asked for with a value that a flag cannot have. That ends go-mmproxy with 1.
pub(super) fn has_wrong_value(arguments: &[OsString], error: &clap::Error) -> bool {
    let kinds = [ErrorKind::InvalidValue, ErrorKind::ValueValidation];
    is_asked_for(arguments) && kinds.contains(&error.kind())
}

fn is_asked_for(arguments: &[OsString]) -> bool {
    arguments.get(1).is_some_and(|command| command == "mmproxy")
}

pub(super) fn main(options: &Options) -> ExitCode {
    let text = match options.configuration() {
        Ok(text) => text,
        Err(problem) => {
            output::complain(&format!("pony mmproxy: {problem}"));
            return ExitCode::FAILURE;
        }
    };
    if options.print_config {
        output::say(&text);
        return ExitCode::SUCCESS;
    }
    match config::parse(&text, Path::new(SOURCE)) {
        Ok(loaded) => run::serve(loaded, SOURCE, |_daemon| {}),
        Err(errors) => {
            output::complain(&format!(
                "pony mmproxy: wrong values, in the configuration that --print-config shows:\n{errors}"
            ));
            ExitCode::FAILURE
        }
    }
}

impl Options {
    /// What `pony run` would be given.
    fn configuration(&self) -> Result<String, String> {
        let mut text = String::from(HEAD);
        if self.listeners > 1 {
            line(&mut text, 2, "threads", &self.listeners.to_string());
        }
        text += LOGGING;
        match self.verbosity {
            0 => {}
            1 => line(&mut text, 2, "level", "debug"),
            _ => line(&mut text, 2, "level", "trace"),
        }
        text += SERVICES;
        line(&mut text, 4, "protocol", &self.protocol);
        line(
            &mut text,
            4,
            "listen_address",
            &quoted(&any_family(&self.listen))?,
        );
        if self.listen_transparent {
            line(&mut text, 4, "transparent", "true");
        }
        line(&mut text, 4, "target_address", &quoted(&self.target_v4)?);
        line(&mut text, 4, "target_address_v6", &quoted(&self.target_v6)?);
        if self.dynamic_destination {
            line(&mut text, 4, "dynamic_destination", "true");
            line(&mut text, 4, "allowed_destinations", EVERYBODY);
        }
        line(&mut text, 4, "preserve_source", "true");
        line(&mut text, 4, "routing", "manual");
        if self.mark > 0 {
            line(&mut text, 4, "mark", &self.mark.to_string());
        }
        line(&mut text, 4, "allowlist", EVERYBODY);
        let trusted = match &self.allowed_subnets {
            Some(file) => format!("[{}]", quoted(&format!("@{}", absolute(file)?))?),
            None => EVERYBODY.to_owned(),
        };
        let headers = format!("{{ accept: required, trusted: {trusted} }}");
        line(&mut text, 4, "proxy_protocol", &headers);
        let is_logged = self.verbosity == 2;
        let log = format!("{{ log_session_start: {is_logged}, log_session_close: {is_logged} }}");
        if self.protocol == "tcp" {
            // `TCP_SYNCNT` of 2 is as long.
            let tcp = format!("{{ connect_timeout: 7s, logging: {log} }}");
            line(&mut text, 4, "tcp", &tcp);
        } else {
            let timeout = match self.close_after {
                0 => "1ms".to_owned(),
                seconds => format!("{seconds}s"),
            };
            let udp =
                format!("{{ session_timeout: {timeout}, buffer_size: 65535, logging: {log} }}");
            line(&mut text, 4, "udp", &udp);
        }
        Ok(text)
    }
}

fn line(text: &mut String, indent: usize, key: &str, value: &str) {
    let _never_fails = writeln!(text, "{:indent$}{key}: {value}", "");
}

/// go-mmproxy's wildcards take both families.
fn any_family(listen: &str) -> String {
    let port = listen
        .strip_prefix("0.0.0.0:")
        .or(listen.strip_prefix("[::]:"));
    port.map_or_else(|| listen.to_owned(), |port| format!(":{port}"))
}

fn absolute(file: &Path) -> Result<String, String> {
    let path = std::path::absolute(file)
        .map_err(|error| format!("-allowed-subnets {}: {error}", file.display()))?;
    path.into_os_string()
        .into_string()
        .map_err(|path| format!("-allowed-subnets {}: is not UTF-8", path.display()))
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> Result<String, String> {
    to_string(text).map_err(|error| format!("{text}: {error}"))
}

/// What the log calls the configuration.
const SOURCE: &str = "pony mmproxy";

const EVERYBODY: &str = "[0.0.0.0/0, \"::/0\"]";

const HEAD: &str = "\
# What `pony mmproxy` does with these flags, for `pony run -c FILE`.
server:
  name: mmproxy
";

const LOGGING: &str = "\
logging:
  stdout: { enabled: true, use_json: true }
";

const SERVICES: &str = "\
guard: { mode: off }
admin: { socket: off }
listeners:
  - name: mmproxy
";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{Config, LogLevel, Protocol};

    #[derive(clap::Parser, Debug)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(flags: &[&str]) -> Result<Options, clap::Error> {
        let mut arguments: Vec<_> = ["pony", "mmproxy"]
            .iter()
            .chain(flags)
            .map(OsString::from)
            .collect();
        with_two_dashes(&mut arguments);
        arguments.remove(1);
        Cli::try_parse_from(arguments).map(|cli| cli.options)
    }

    #[track_caller]
    fn config(flags: &[&str]) -> Config {
        let text = options(flags).unwrap().configuration().unwrap();
        let loaded = config::parse(&text, Path::new(SOURCE));
        let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert_eq!(loaded.warnings, [], "{text}");
        loaded.config
    }

    #[test]
    fn without_flags_it_is_what_go_mmproxy_is() {
        let config = config(&[]);
        let listener = &config.listeners[0];
        assert_eq!(listener.protocol, Protocol::Tcp);
        assert_eq!(listener.listen.to_string(), ":8443");
        assert_eq!(listener.target.to_string(), "127.0.0.1:443");
        let v6 = listener.target_v6.as_ref().unwrap();
        assert_eq!(v6.to_string(), "[::1]:443");
        assert!(listener.source.preserve.is_some() && listener.source.mark.is_none());
        assert!(listener.proxy_protocol.accept.as_ref().unwrap().is_required);
        assert!(!listener.transparent && !listener.session_log.close);
        assert_eq!(config.server.threads, None);
        assert_eq!(config.logging.level, LogLevel::Info);
    }

    #[test]
    fn each_verbosity_says_more() {
        for (flag, level, is_each_logged) in [
            ("-v=1", LogLevel::Debug, false),
            ("-v=2", LogLevel::Trace, true),
        ] {
            let config = config(&[flag]);
            assert_eq!(config.logging.level, level);
            assert_eq!(config.listeners[0].session_log.start, is_each_logged);
        }
    }

    #[test]
    fn every_flag_has_its_meaning_with_one_dash_and_with_two() {
        for dash in ["-", "--"] {
            let flags = [
                "l=127.0.0.1:1234",
                "p=udp",
                "4=127.0.0.2:53",
                "6=[::2]:53",
                "v=2",
                "mark=123",
                "listeners=3",
                "dynamic-destination",
                "listen-transparent=true",
                "close-after=5",
            ]
            .map(|flag| format!("{dash}{flag}"));
            let flags: Vec<_> = flags.iter().map(String::as_str).collect();
            let config = config(&flags);
            let listener = &config.listeners[0];
            assert_eq!(listener.protocol, Protocol::Udp);
            assert_eq!(listener.listen.to_string(), "127.0.0.1:1234");
            assert_eq!(listener.target.to_string(), "127.0.0.2:53");
            assert_eq!(listener.source.mark, Some(123));
            assert_eq!(config.server.threads, Some(3));
            assert!(listener.transparent && listener.destinations.is_some());
            assert!(listener.session_log.start && listener.session_log.close);
            assert_eq!(listener.udp.session_timeout.as_secs(), 5);
        }
    }

    #[test]
    fn values_may_follow_in_an_argument_of_their_own_and_the_rest_is_ignored() {
        // Of a flag that is there twice the last one counts.
        let flags = ["-l", "localhost:1", "-mark", "1", "-mark", "7", "whatever"];
        let options = options(&flags).unwrap();
        assert_eq!((&*options.listen, options.mark), ("localhost:1", 7));
    }

    #[test]
    fn flags_that_it_does_not_have_are_refused() {
        for flags in [
            &["-listener", "2"][..],
            &["-v", "3"],
            &["-p", "sctp"],
            &["-listeners", "0"],
        ] {
            options(flags).unwrap_err();
        }
        for flag in ["-h", "-help", "--help"] {
            let kind = options(&[flag]).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::DisplayHelp);
        }
    }

    #[test]
    fn a_file_of_subnets_without_any_trusts_nobody_and_says_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let flags = ["-allowed-subnets", file.path().to_str().unwrap()];
        let text = options(&flags).unwrap().configuration().unwrap();
        let loaded = config::parse(&text, Path::new(SOURCE)).unwrap();
        let accept = loaded.config.listeners[0].proxy_protocol.accept.as_ref();
        assert_eq!(accept.unwrap().trusted, []);
        let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(
            said.iter().any(|text| text.contains("trusts nobody")),
            "{said:?}"
        );
    }
}
