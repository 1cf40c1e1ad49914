//! The scenarios.
//!
//! Limits that a row meets on purpose have windows of an hour, so that nothing expires under it;
//! rows about expiry have short ones.

mod bans;
mod tcp;
mod udp;

use super::scenario::Scenario;

/// All of them.
pub(super) fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    [tcp::ROWS, udp::ROWS, bans::ROWS].into_iter().flatten()
}

const ONLY_A: &str = "192.0.2.1, \"2001:db8:1::/64\"";
const DENY_B: &str = "denylist: [192.0.2.2, \"2001:db8:1:1::/64\"]";
const EXEMPT_A: &str = "exempt: [192.0.2.1, \"2001:db8:1::/64\"]";
const EXEMPT_B: &str = "exempt: [192.0.2.2, \"2001:db8:1:1::/64\"]";
const ONE_ATTEMPT: &str = "max_connection_attempts_per_ip: 1, attempts_window: 1h";
