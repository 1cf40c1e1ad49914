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
}

impl Reason {
    /// Every reason, each at the index that is its value.
    pub const ALL: [Self; 5] = [
        Self::Acl,
        Self::AttemptLimit,
        Self::TotalLimit,
        Self::ConnectionLimit,
        Self::BandwidthLimit,
    ];

    /// The name in metric labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::AttemptLimit => "attempt_limit",
            Self::TotalLimit => "total_limit",
            Self::ConnectionLimit => "connection_limit",
            Self::BandwidthLimit => "bandwidth_limit",
        }
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
        }
    }
}
