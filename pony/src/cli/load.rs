//! Loading a configuration file for a command.

use std::{path::Path, process::ExitCode};

use super::{WRONG_USAGE, output};
use crate::config::{self, Loaded};

/// Loads `file`, or prints everything that is wrong with it.
pub(super) fn config(file: &Path) -> Result<Loaded, ExitCode> {
    accept(config::load(file))
}

/// Takes what was loaded or parsed, or prints everything that is wrong with it.
pub(super) fn accept(loaded: Result<Loaded, config::Errors>) -> Result<Loaded, ExitCode> {
    loaded.map_err(|errors| {
        output::complain(&errors.to_string());
        ExitCode::from(WRONG_USAGE)
    })
}
