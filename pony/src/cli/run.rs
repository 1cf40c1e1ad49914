//! `pony run`: serve until told to stop.

use std::{io, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{info, level_filters::LevelFilter, warn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::{ConfigFile, load, output};
use crate::{
    config::{Config, Errors, Loaded, LogLevel, Problem},
    daemon::Daemon,
    kernel,
    observe::{Log, Metrics, Sinks, tracing_layer},
    sys,
};

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Log what the kernel programs themselves say, at most 100 messages a second. For diagnosis:
    /// it costs every packet time.
    #[arg(long, value_name = "LEVEL")]
    kernel_log: Option<Level>,
}

/// As [`LogLevel`].
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warn => Self::Warn,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

pub(super) fn main(options: &Options) -> ExitCode {
    let file = &options.file.config;
    let mut loaded = match load::config(file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    loaded.config.guard.kernel_log = options.kernel_log.map(Into::into);
    serve(loaded, &file.display().to_string(), |_daemon| {})
}

/// Runs the daemon in a runtime of its own; `ready` is called once it serves.
pub(super) fn serve(loaded: Loaded, source: &str, ready: impl FnOnce(&Daemon)) -> ExitCode {
    match run_to_end(loaded, source, ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("pony: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_to_end(loaded: Loaded, source: &str, ready: impl FnOnce(&Daemon)) -> Result<()> {
    let Loaded { config, warnings } = loaded;
    let open_files = sys::raise_open_files();
    let metrics = Metrics::new().context("cannot set up metrics")?;
    let (log, sinks) = Log::start(&config.logging, &metrics).context("cannot start logging")?;
    // The kernel programs say no more than they were told to.
    let layer = tracing_layer(log.clone(), filter(config.logging.level))
        .with_target(kernel::LOG_TARGET, LevelFilter::TRACE);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).context("cannot set up logging")?;

    let version = env!("CARGO_PKG_VERSION");
    info!(
        version,
        server = config.server.name,
        config = source,
        open_files,
        "PacketPony starting"
    );
    log_warnings(&warnings);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let result = runtime.block_on(run(config, log, metrics, &sinks, ready));
    // Look-ups that hang in the system's resolver are not waited for.
    runtime.shutdown_background();
    if let Err(error) = sinks.flush(FLUSH_TIME) {
        output::complain(&format!("pony: {error}"));
    }
    result
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What `pony check` prints belongs in the log of a daemon.
fn log_warnings(warnings: &[Problem]) {
    for warning in warnings.iter().take(Errors::MOST) {
        let Problem {
            file,
            line,
            key,
            value,
            message: problem,
            remedy,
        } = warning;
        let file = file.display();
        warn!(%file, line, key, value, problem, remedy, "Configuration");
    }
    if let Some(omitted) = warnings.len().checked_sub(Errors::MOST + 1) {
        warn!(
            more = omitted + 1,
            "Configuration warnings left out: see `pony check`"
        );
    }
}

async fn run(
    config: Config,
    log: Log,
    metrics: Metrics,
    sinks: &Sinks,
    ready: impl FnOnce(&Daemon),
) -> Result<()> {
    // Before anything else, so that no signal finds the default action in place.
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let count = config.listeners.len();
    let daemon = Daemon::start(config, log, metrics).await?;
    info!(listeners = count, "PacketPony is running");
    ready(&daemon);

    let signal = signals.stop(sinks).await;
    info!(signal, "Received shutdown signal");
    let second = async {
        signals.stop(sinks).await;
    };
    daemon.stop(second).await;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal to stop; serves the others meanwhile.
    async fn stop(&mut self, sinks: &Sinks) -> &'static str {
        loop {
            select! {
                _ = self.terminate.recv() => return "terminated",
                _ = self.interrupt.recv() => return "interrupt",
                _ = self.hangup.recv() => {
                    sinks.reopen();
                    info!("Log files reopened");
                }
            }
        }
    }
}

/// How long the last log lines have to be written when a sink does not take them.
const FLUSH_TIME: Duration = Duration::from_secs(2);
