//! From a YAML file to a checked [`Config`].
//!
//! Owns the syntax of every value, all defaults, and the wording of every complaint. It touches
//! no network: it does not resolve names, bind, or look for interfaces.
//!
//! What always holds: a [`Config`] that comes out of here is complete and consistent, and a file
//! that does not load is answered with everything that is wrong with it, not with the first fault.

mod address;
mod destination;
mod document;
mod duration;
mod list_file;
mod locate;
mod model;
mod node;
mod prefix;
mod problem;
mod reader;
mod schema;
mod services;
mod size;
mod span;
mod suggest;
mod target;

use std::path::Path;
use std::time::Duration;

pub use ipnet::IpNet;
pub use pony_common::limit::{Action, BandwidthLimit};

pub use self::address::{Host, HostPort};
pub use self::destination::Destination;
use self::locate::Lines;
pub use self::model::{
    AcceptHeaders, Access, Admin, AttachMode, AttemptLimit, Config, ControlSocket, Family, Guard,
    GuardMode, Interfaces, Lane, Limits, Listener, LogLevel, Logging, MetricsEndpoint, Protocol,
    ProxyProtocol, Refuse, Routing, SendHeaders, SentFields, Server, SessionLog, Severity, Source,
    SourcePort, StdoutFormat, Syslog, SyslogTransport, Tcp, TcpShare, Udp, UdpHeader,
};
use self::problem::Complaint;
pub use self::problem::{Errors, Problem};
use self::reader::Context;
pub use self::span::Span;
pub use self::target::Target;

/// A configuration that may be used, and what its writer should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file, bounded.
    pub warnings: Vec<Problem>,
}

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Loaded, Errors> {
    let text = document::read(path)?;
    parse(&text, path)
}

/// Checks `text`. `file` is named in messages, and its folder is where `@FILE` entries begin.
pub fn parse(text: &str, file: &Path) -> Result<Loaded, Errors> {
    // The YAML reader takes the mark for content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = document::parse(text, file)?;
    let context = Context::new(file);
    let config = schema::check(&root, &context);

    let has_findings = !(context.errors.is_empty() && context.warnings.is_empty());
    let lines = if has_findings {
        Lines::find(text)
    } else {
        Lines::default()
    };
    let (errors, omitted) = context.errors.finish(&lines);
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded {
            config,
            warnings: told(context.warnings.finish(&lines), file),
        }),
        None if errors.is_empty() => {
            let complaint = Complaint::new("could not be understood", "please report this file");
            Err(Problem::of_file(file, complaint).into())
        }
        _ => Err(Errors {
            problems: errors,
            omitted,
        }),
    }
}

/// Reads a duration as it is written in a file. The error is what is wrong, and what to write
/// instead.
pub fn duration(text: &str) -> Result<Duration, (String, String)> {
    duration::parse(text).map_err(|complaint| (complaint.message, complaint.remedy))
}

/// The warnings, with a last one for those that are left out.
fn told((mut warnings, omitted): (Vec<Problem>, usize), file: &Path) -> Vec<Problem> {
    if omitted > 0 {
        let message = format!("deserves {omitted} more warnings");
        warnings.push(Problem::of_file(
            file,
            Complaint::new(message, "mend the ones above first"),
        ));
    }
    warnings
}

#[cfg(test)]
mod tests;
