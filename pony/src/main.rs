//! The `pony` binary. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pony::cli::main()
}
