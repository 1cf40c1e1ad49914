//! `cargo xtask setup`: brings a machine to where the other tasks work.
//!
//! Idempotent, and quick when nothing is missing. Each task asks only for what it needs, so that
//! running PacketPony never installs what only its tests use.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::{debian::Apt, step, toolchain, workspace::Workspace};

/// The options of the task.
#[derive(Parser)]
pub(crate) struct Options {
    /// What to set up for; everything, if not given
    #[arg(long = "for", value_name = "TASK", value_delimiter = ',')]
    needs: Vec<Need>,
}

/// What a machine can be set up for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Need {
    /// The kernel toolchain
    Run,
    /// The kernel toolchain
    Build,
    /// The kernel toolchain and the programs that end-to-end tests use
    Test,
    /// rustfmt, clippy and the kernel toolchain
    Lint,
}

/// A program that end-to-end tests start.
struct Tool {
    program: &'static str,
    package: &'static str,
    role: &'static str,
}

/// Sets up what was asked for, as far as possible, and fails if anything is still missing.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let start = Instant::now();
    let needs = match &options.needs[..] {
        [] => Need::value_variants(),
        some => some,
    };
    let wants = |some: &[Need]| needs.iter().any(|need| some.contains(need));
    let mut failures = Vec::new();

    // Every task but none needs the kernel toolchain.
    match toolchain::ensure(workspace) {
        Ok(kernel) => step::note(format_args!(
            "kernel programs: {}, {}",
            kernel.rust.label(),
            kernel.linker.display()
        )),
        Err(error) => failures.push(error),
    }
    if wants(&[Need::Test]) {
        failures.extend(test_tools(workspace).err());
    }
    if wants(&[Need::Lint]) {
        failures.extend(lint_tools(workspace).err());
    }

    for failure in &failures {
        step::warn(format_args!("{failure:#}"));
    }
    if !failures.is_empty() {
        bail!("setup is incomplete; see the warnings above");
    }
    step::say(format_args!("set up, {}", step::took(start.elapsed())));
    Ok(())
}

/// Makes sure of every program that end-to-end tests start.
pub(crate) fn test_tools(workspace: &Workspace) -> Result<()> {
    programs(workspace, "tests", &TOOLS)
}

/// Makes sure of every program that benchmarks start, which have what tests have.
pub(crate) fn bench_tools(workspace: &Workspace) -> Result<()> {
    test_tools(workspace)?;
    programs(workspace, "benchmarks", &BENCH_TOOLS)
}

/// Makes sure of these programs, which `users` need.
fn programs(workspace: &Workspace, users: &str, tools: &[Tool]) -> Result<()> {
    let missing: Vec<_> = tools
        .iter()
        .filter(|tool| !is_installed(tool.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = Apt::find();
    if !apt.exists() {
        bail!(
            "{users} need programs that are not installed:\n{}",
            roles(&missing)
        );
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let what = format!("installing what {users} use");
    apt.install(workspace, &what, &packages)
        .with_context(|| format!("{users} need programs that are not installed"))
}

/// Makes sure of rustfmt and clippy.
pub(crate) fn lint_tools(workspace: &Workspace) -> Result<()> {
    let works = |name: &str| step::output(workspace.cargo().args([name, "--version"])).is_some();
    let missing: Vec<_> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(subcommand, _)| !works(subcommand))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add"]).args(&missing);
    let what = format!("adding {}", missing.join(" and "));
    step::quiet(workspace, &what, &mut rustup, Duration::from_mins(5)).with_context(|| {
        format!(
            "lint needs {}, from rustup or of the same release as your rustc",
            missing.join(" and ")
        )
    })
}

/// The search path with the directories that hold administrators' programs.
pub(crate) fn wide_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    for extra in ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !directories.contains(&extra) {
            directories.push(extra);
        }
    }
    env::join_paths(directories).unwrap_or(path)
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&wide_path()).any(|directory| directory.join(Path::new(program)).is_file())
}

fn roles(tools: &[&Tool]) -> String {
    let line = |tool: &&Tool| format!("  {}: {}", tool.program, tool.role);
    tools.iter().map(line).collect::<Vec<_>>().join("\n")
}

const fn tool(program: &'static str, package: &'static str, role: &'static str) -> Tool {
    Tool {
        program,
        package,
        role,
    }
}

const TOOLS: [Tool; 12] = [
    tool("ip", "iproute2", "network namespaces and links"),
    tool("nft", "nftables", "the kernel's own packet filter"),
    tool("ethtool", "ethtool", "offloads of links"),
    tool("bpftool", "bpftool", "a second look at programs and maps"),
    tool("curl", "curl", "an HTTP client"),
    tool(
        "nginx",
        "nginx-light",
        "an HTTP target (no service is needed)",
    ),
    tool("dig", "bind9-dnsutils", "a DNS client"),
    tool(
        "dnsmasq",
        "dnsmasq-base",
        "a DNS target (no service is needed)",
    ),
    tool("iperf3", "iperf3", "throughput"),
    tool("nc", "netcat-openbsd", "plain TCP and UDP"),
    tool("haproxy", "haproxy", "another proxy (no service is needed)"),
    // No program, but a file that is found like one.
    tool(
        "/usr/lib/nginx/modules/ngx_stream_module.so",
        "libnginx-mod-stream",
        "nginx as a TCP proxy",
    ),
];

const BENCH_TOOLS: [Tool; 1] = [tool(
    "xdp-filter",
    "xdp-tools",
    "another packet filter in XDP",
)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wide_path_ends_with_the_directories_of_administrators() {
        let wide = wide_path().into_string().unwrap();
        assert!(env::split_paths(&wide).any(|directory| directory == Path::new("/usr/sbin")));
    }

    #[test]
    fn missing_programs_are_named_with_their_role() {
        let text = roles(&[&TOOLS[0]]);
        assert_eq!(text, "  ip: network namespaces and links");
    }
}
