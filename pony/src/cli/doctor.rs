//! `pony doctor`: what this machine lacks for a configuration, and what would mend it.
//!
//! Looks and tries, and leaves everything as it was. Exit code 0: nothing is missing.

mod source;

use std::{fmt::Write as _, process::ExitCode};

use super::{ConfigFile, load, output};
use crate::{
    config::{Config, GuardMode, Lane, Listener, Loaded, Protocol},
    kernel::{self, lanes::Lanes},
};

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
}

/// What was found about one thing.
#[derive(Debug, Eq, PartialEq)]
enum Finding {
    /// It is there.
    Ok(String),
    /// It is not, and what to do about it, a line each.
    Missing(String, Vec<String>),
    /// It cannot be seen from here.
    Note(String),
}

pub(super) fn main(options: &Options) -> ExitCode {
    let Loaded { config, .. } = match load::config(&options.file.config) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut findings = Vec::new();
    findings.extend(guard(&config));
    findings.extend(lanes(&config.listeners));
    findings.extend(ranges(&config.listeners));
    for listener in &config.listeners {
        source::examine(listener, &config.server.name, &mut findings);
    }
    if findings.is_empty() {
        output::say("ok       nothing special is needed");
    }
    for finding in &findings {
        output::say(&finding.text());
    }
    let is_missing = |finding: &Finding| matches!(finding, Finding::Missing(..));
    if findings.iter().any(is_missing) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn guard(config: &Config) -> Option<Finding> {
    if config.guard.mode == GuardMode::Off {
        return None;
    }
    Some(match kernel::try_out(&config.guard) {
        Ok(()) => Finding::Ok("guard: the kernel takes its programs".to_owned()),
        Err(reason) => Finding::Missing(
            format!("guard: {reason}"),
            vec!["or write `guard: { mode: off }`: the proxy does the same without it".to_owned()],
        ),
    })
}

fn lanes(listeners: &[Listener]) -> Option<Finding> {
    let is_wanted = |listener: &Listener| {
        listener.protocol == Protocol::Tcp
            && matches!(listener.tcp.lane, None | Some(Lane::Sockmap))
    };
    if !listeners.iter().any(is_wanted) {
        return None;
    }
    let tried = Lanes::load(FLOWS).and_then(|mut lanes| lanes.self_test());
    Some(match tried {
        Ok(()) => Finding::Ok("sockmap lane: the kernel moves bytes as it should".to_owned()),
        Err(error) => Finding::Missing(
            format!("sockmap lane: {}", error.explain()),
            vec!["or write `tcp: { lane: splice }` for each listener: without it flows are spliced and copied anyway".to_owned()],
        ),
    })
}

fn ranges(listeners: &[Listener]) -> Option<Finding> {
    let listener = listeners.iter().find(|listener| listener.span.is_some())?;
    let name = &listener.name;
    Some(match kernel::ports::try_out() {
        Ok(()) => Finding::Ok(format!(
            "listener {name}: the kernel brings its many ports here"
        )),
        Err(error) => Finding::Missing(
            format!("listener {name}: {}", error.explain()),
            vec!["or write one address and port".to_owned()],
        ),
    })
}

impl Finding {
    fn text(&self) -> String {
        match self {
            Self::Ok(what) => format!("ok       {what}"),
            Self::Note(what) => format!("note     {what}"),
            Self::Missing(what, remedies) => {
                let mut text = format!("missing  {what}");
                for remedy in remedies {
                    // Writing to a string cannot fail.
                    write!(text, "\n           {remedy}").ok();
                }
                text
            }
        }
    }
}

/// Room for the flows of the self-test.
const FLOWS: u32 = 64;
