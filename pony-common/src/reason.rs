//! Why something was refused. A reason has one name, in counters, labels, logs and documentation.

/// Why a connection, session, chunk or datagram was refused.
///
/// The value is a counter's slot on both sides of the kernel border, so values are never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
pub enum Reason {
    /// The client is on the denylist, or not on the allowlist.
    Acl = 0,
    /// The client made too many attempts within the window.
    AttemptLimit = 1,
    /// The listener has as many connections or sessions open as it may.
    TotalLimit = 2,
    /// The client has as many connections or sessions open as it may.
    ConnectionLimit = 3,
    /// The client moved too many bytes within the window.
    BandwidthLimit = 4,
    /// TCP flags that no connection can have. Only the guard refuses for it.
    Malformed = 5,
    /// An operator has banned the client.
    Banned = 6,
}

impl Reason {
    /// Every reason, each at the index that is its value.
    pub const ALL: [Self; 7] = [
        Self::Acl,
        Self::AttemptLimit,
        Self::TotalLimit,
        Self::ConnectionLimit,
        Self::BandwidthLimit,
        Self::Malformed,
        Self::Banned,
    ];

    /// The name in metric labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::AttemptLimit => "attempt_limit",
            Self::TotalLimit => "total_limit",
            Self::ConnectionLimit => "connection_limit",
            Self::BandwidthLimit => "bandwidth_limit",
            Self::Malformed => "malformed",
            Self::Banned => "banned",
        }
    }

    /// Whether a limit is the reason, so that `log_only` concerns it.
    pub const fn is_limit(self) -> bool {
        !matches!(self, Self::Acl | Self::Malformed | Self::Banned)
    }

    /// The reason with this value.
    #[inline]
    pub const fn from_value(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::Acl,
            1 => Self::AttemptLimit,
            2 => Self::TotalLimit,
            3 => Self::ConnectionLimit,
            4 => Self::BandwidthLimit,
            5 => Self::Malformed,
            6 => Self::Banned,
            _ => return None,
        })
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_at_its_value() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason}");
            assert_eq!(Reason::from_value(reason as u32), Some(reason));
        }
    }
}
