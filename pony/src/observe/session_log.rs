//! Which events of a session are worth a line: the thresholds of a `logging:` block.
//!
//! Pure decisions about one session; it writes nothing and reads no clock.
//!
//! `log_session_close: false` means what it says: the close of a session is then never logged,
//! also when it passes `min_log_duration` and `min_log_bytes`. The two thresholds only ever
//! take closes away. Updates do not depend on any of the three.

use std::time::Duration;

use crate::config::SessionLog;

/// The decisions for one session, and when its last update was.
#[derive(Debug)]
pub struct SessionLogger<'a> {
    rules: &'a SessionLog,
    /// The age and the bytes of the session at its last update, at first zero.
    updated_at: Duration,
    updated_bytes: u64,
}

impl<'a> SessionLogger<'a> {
    /// For a session that opens now.
    pub const fn new(rules: &'a SessionLog) -> Self {
        Self {
            rules,
            updated_at: Duration::ZERO,
            updated_bytes: 0,
        }
    }

    /// Whether the open event is logged.
    pub fn should_log_start(&self) -> bool {
        self.rules.start
    }

    /// Whether the close of a session that lived for `duration` and moved `bytes`, both
    /// directions together, is logged.
    pub fn should_log_close(&self, duration: Duration, bytes: u64) -> bool {
        self.rules.close && duration >= self.rules.min_duration && bytes >= self.rules.min_bytes
    }

    /// Whether an update is due for a session of this `age` that has moved `bytes`, both
    /// directions together. If so, the thresholds count from here on.
    pub fn update(&mut self, age: Duration, bytes: u64) -> bool {
        let by_time = self
            .rules
            .interval
            .is_some_and(|interval| age.saturating_sub(self.updated_at) >= interval);
        let by_bytes = self
            .rules
            .bytes
            .is_some_and(|step| bytes.saturating_sub(self.updated_bytes) >= step);
        if !by_time && !by_bytes {
            return false;
        }
        self.updated_at = age;
        self.updated_bytes = bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn logs_every_open_and_close_unless_told_otherwise() {
        for rules in [SessionLog::SESSIONS, SessionLog::CONNECTIONS] {
            let logger = SessionLogger::new(&rules);
            assert!(logger.should_log_start());
            assert!(logger.should_log_close(Duration::ZERO, 0));
        }
    }

    #[test]
    fn the_dns_example_logs_the_close_of_long_sessions_only() {
        let rules = SessionLog {
            start: false,
            min_duration: 5 * SECOND,
            ..SessionLog::SESSIONS
        };
        let logger = SessionLogger::new(&rules);
        assert!(!logger.should_log_start());
        assert!(!logger.should_log_close(4 * SECOND, 1 << 30));
        assert!(logger.should_log_close(5 * SECOND, 0));
    }

    #[test]
    fn a_session_must_pass_both_thresholds() {
        let rules = SessionLog {
            min_duration: 5 * SECOND,
            min_bytes: 1024,
            ..SessionLog::SESSIONS
        };
        let logger = SessionLogger::new(&rules);
        assert!(!logger.should_log_close(9 * SECOND, 1023));
        assert!(!logger.should_log_close(SECOND, 1024));
        assert!(logger.should_log_close(9 * SECOND, 1024));
    }

    #[test]
    fn thresholds_do_not_bring_back_closes_that_are_switched_off() {
        let rules = SessionLog {
            start: false,
            close: false,
            min_duration: 10 * SECOND,
            min_bytes: 10 << 10,
            ..SessionLog::SESSIONS
        };
        let mut logger = SessionLogger::new(&rules);
        assert!(!logger.should_log_close(3600 * SECOND, 1 << 40));
        assert!(logger.update(300 * SECOND, 0), "updates go on");
    }

    #[test]
    fn updates_come_by_time_or_by_bytes_and_start_counting_anew() {
        let rules = SessionLog {
            interval: Some(60 * SECOND),
            bytes: Some(1000),
            ..SessionLog::SESSIONS
        };
        let mut logger = SessionLogger::new(&rules);
        assert!(!logger.update(59 * SECOND, 999));
        assert!(logger.update(60 * SECOND, 999), "by time");
        assert!(!logger.update(61 * SECOND, 1998));
        assert!(logger.update(61 * SECOND, 1999), "by bytes");
        assert!(!logger.update(120 * SECOND, 2000));
        assert!(logger.update(121 * SECOND, 2000), "by time again");
    }

    #[test]
    fn without_thresholds_there_are_no_updates() {
        let mut logger = SessionLogger::new(&SessionLog::CONNECTIONS);
        assert!(!logger.update(Duration::MAX, u64::MAX));
    }
}
