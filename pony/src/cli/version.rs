//! What `--version` prints.

use crate::kernel;

/// Version, commit, and whether the kernel programs are inside.
pub(super) fn text() -> String {
    let programs = if kernel::OBJECT.is_some() {
        "embedded"
    } else {
        "not embedded"
    };
    format!(
        "PacketPony {}\n  Commit:          {}\n  Kernel programs: {programs}",
        env!("CARGO_PKG_VERSION"),
        env!("PONY_COMMIT"),
    )
}
