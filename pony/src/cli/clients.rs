//! `pony clients`: who uses how much, as the kernel guard counts it.

mod json;
mod table;

use std::process::ExitCode;

use clap::ValueEnum;

use super::output;
use crate::kernel::{self, Query};

#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// The `server.name` of the PacketPony to look at; needed only if several run here.
    #[arg(short, long, value_name = "NAME")]
    instance: Option<String>,
    /// Only the clients of this listener.
    #[arg(short, long, value_name = "NAME")]
    listener: Option<String>,
    /// What puts a client first.
    #[arg(short, long, value_name = "WHAT", value_enum, default_value_t = By::Bytes)]
    by: By,
    /// How many clients to show; 0 for all.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// One JSON object, with exact numbers.
    #[arg(long)]
    json: bool,
}

/// As [`kernel::By`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Payload, in both directions.
    Bytes,
    /// In both directions.
    Packets,
    /// New TCP connections that were tried.
    Attempts,
}

impl From<By> for kernel::By {
    fn from(by: By) -> Self {
        match by {
            By::Bytes => Self::Bytes,
            By::Packets => Self::Packets,
            By::Attempts => Self::Attempts,
        }
    }
}

pub(super) fn main(options: &Options) -> ExitCode {
    let query = Query {
        instance: options.instance.as_deref(),
        listener: options.listener.as_deref(),
        by: options.by.into(),
        limit: match options.limit {
            0 => usize::MAX,
            limit => limit,
        },
    };
    let clients = match kernel::clients(&query) {
        Ok(clients) => clients,
        Err(error) => {
            output::complain(&format!("pony: {error}"));
            return ExitCode::FAILURE;
        }
    };
    if !clients.is_running {
        let name = &clients.instance;
        output::complain(&format!(
            "pony: {name:?} does not run; these are the figures of its end"
        ));
    }
    output::say(&if options.json {
        json::text(&clients)
    } else {
        table::text(&clients)
    });
    ExitCode::SUCCESS
}
