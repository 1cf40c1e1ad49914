//! `pony check`: is this configuration right, and would it start here?

use std::{net::ToSocketAddrs as _, process::ExitCode};

use super::{ConfigFile, load, output};
use crate::{
    admin,
    config::{Config, GuardMode, Host, Listener, Loaded, Protocol},
    kernel,
    listen::{Place, bind_tcp, bind_udp},
    target,
};

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Only read the file: do not resolve names and do not try to bind. For the file of a
    /// PacketPony that is running, or of another machine.
    #[arg(long)]
    offline: bool,
}

pub(super) fn main(options: &Options) -> ExitCode {
    let file = &options.file.config;
    let Loaded { config, warnings } = match load::config(file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    for warning in &warnings {
        output::complain(&format!("warning: {warning}"));
    }
    let problems = if options.offline {
        Vec::new()
    } else {
        try_out(&config)
    };
    for problem in &problems {
        output::complain(&format!("{}: {problem}", file.display()));
    }
    if !problems.is_empty() {
        return ExitCode::FAILURE;
    }
    let checked = if options.offline {
        "the file is right"
    } else {
        "the file is right and its addresses can be had"
    };
    output::say(&format!(
        "{}: {checked} ({})",
        file.display(),
        summary(&config)
    ));
    ExitCode::SUCCESS
}

fn summary(config: &Config) -> String {
    let listeners = match config.listeners.len() {
        1 => "1 listener".to_owned(),
        count => format!("{count} listeners"),
    };
    if config.guard.mode == GuardMode::Off {
        return listeners;
    }
    let megabytes = kernel::memory(&config.guard).div_ceil(1_000_000);
    format!("{listeners}; the kernel guard takes {megabytes} MB of memory")
}

/// Does what a start would do first, and undoes it.
fn try_out(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    // Kept until the end: two addresses that exclude each other must meet.
    let mut bound_tcp = Vec::new();
    let mut bound_udp = Vec::new();
    // Who has many ports to choose from comes last, as at a start.
    let mut listeners: Vec<_> = config.listeners.iter().collect();
    listeners.sort_by_key(|listener| listener.span.is_some());
    for listener in listeners {
        let place = Place::of(listener);
        let result = match listener.protocol {
            Protocol::Tcp => bind_tcp(place).map(|socket| bound_tcp.push(socket)),
            Protocol::Udp => bind_udp(place).map(|socket| bound_udp.push(socket)),
        };
        if let Err(error) = result {
            problems.push(format!("listener {}: {error}", listener.name));
        }
        if let Err(error) = target::try_out(listener) {
            problems.push(format!("listener {}: {error}", listener.name));
        }
        problems.extend(unresolvable(listener));
    }
    let spanning = config
        .listeners
        .iter()
        .find(|listener| listener.span.is_some());
    if let Some(listener) = spanning
        && let Err(error) = kernel::ports::try_out()
    {
        problems.push(format!("listener {}: {}", listener.name, error.explain()));
    }
    if let Some(metrics) = &config.metrics
        && let Err(error) = bind_tcp((&metrics.listen).into())
    {
        problems.push(format!("metrics.prometheus: {error}"));
    }
    if let Err(error) = admin::try_out(&config.admin) {
        problems.push(error.to_string());
    }
    problems
}

fn unresolvable(listener: &Listener) -> impl Iterator<Item = String> {
    let v6 = listener.target_v6.as_ref();
    let targets = [
        Some(("target_address", &listener.target)),
        v6.map(|target| ("target_address_v6", target)),
    ];
    targets.into_iter().flatten().filter_map(|(key, target)| {
        let Host::Name(name) = &target.host else {
            return None;
        };
        let port = target.port.unwrap_or_default();
        let error = (name.as_str(), port).to_socket_addrs().err()?;
        Some(format!(
            "listener {}: cannot resolve {key} {target}: {error}",
            listener.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn says_what_the_guard_takes_unless_it_is_off() {
        let text = include_str!("../../../configs/full.yaml");
        let summary_of = |text: &str| summary(&config::parse(text, Path::new("a")).unwrap().config);
        assert_eq!(
            summary_of(text),
            "2 listeners; the kernel guard takes 28 MB of memory"
        );
        let off = text.replace("  mode: auto", "  mode: off");
        assert_eq!(summary_of(&off), "2 listeners");
    }
}
