//! Answers of the control socket, for people. `None` for one that is none of this version.

use super::super::output;
use crate::admin::{BanLine, Bans, Began, Lifted};

pub(super) fn began(body: &str) -> Option<String> {
    let Began {
        ban,
        ended,
        warnings,
    } = serde_json::from_str(body).ok()?;
    for warning in &warnings {
        output::complain(&format!("warning: {warning}"));
    }
    let ended = match ended {
        0 => "nothing of it was open",
        1 => "one connection or session was ended",
        _ => {
            return Some(format!(
                "{}; {ended} connections and sessions were ended",
                start(&ban)
            ));
        }
    };
    Some(format!("{}; {ended}", start(&ban)))
}

pub(super) fn lifted(body: &str) -> Option<String> {
    let Lifted { lifted } = serde_json::from_str(body).ok()?;
    let lines = lifted.iter().map(|ban| {
        let (who, place) = (who(ban), place(ban));
        format!("{who} is banned no longer on {place}")
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

pub(super) fn bans(body: &str) -> Option<String> {
    let Bans { bans, max_bans } = serde_json::from_str(body).ok()?;
    if bans.is_empty() {
        return Some(format!("nobody is banned (there may be {max_bans} bans)"));
    }
    let rows = bans.iter().map(|ban| {
        [
            ban.address.to_string(),
            ban.clients.join(", "),
            ban.listener.clone().unwrap_or_else(|| "(all)".to_owned()),
            end(ban).to_owned(),
            left(ban),
        ]
    });
    let rows: Vec<_> = [HEAD.map(str::to_owned)].into_iter().chain(rows).collect();
    Some(output::table(&rows, 4..5))
}

const HEAD: [&str; 5] = ["ADDRESS", "CLIENT", "LISTENER", "UNTIL", "LEFT"];

fn start(ban: &BanLine) -> String {
    let (who, place) = (who(ban), place(ban));
    match &ban.until {
        Some(until) => format!("{who} is banned on {place} until {until}"),
        None => format!("{who} is banned on {place}, until it is lifted or the daemon ends"),
    }
}

/// The address, and the prefixes that it stands for.
fn who(ban: &BanLine) -> String {
    let address = ban.address.to_string();
    if ban.clients == [address.as_str()] {
        return address;
    }
    format!("{address} ({})", ban.clients.join(", "))
}

fn place(ban: &BanLine) -> &str {
    ban.listener.as_deref().unwrap_or("all listeners")
}

fn end(ban: &BanLine) -> &str {
    ban.until.as_deref().unwrap_or("-")
}

fn left(ban: &BanLine) -> String {
    match ban.remaining_seconds {
        Some(seconds) => span(seconds),
        None => "forever".to_owned(),
    }
}

/// As durations are written in the configuration.
fn span(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_is_told_with_whom_it_concerns_and_until_when() {
        let body = r#"{"ban":{"address":"2001:db8::7","clients":["2001:db8::/64"],"listener":"web",
            "until":"2026-11-21T19:00:00Z","remaining_seconds":3600},"ended":2,"warnings":[]}"#;
        let told = "2001:db8::7 (2001:db8::/64) is banned on web until 2026-11-21T19:00:00Z; \
                    2 connections and sessions were ended";
        assert_eq!(began(body).unwrap(), told);
        assert_eq!(began("{}"), None);
    }

    #[test]
    fn bans_are_a_table() {
        let body = r#"{"bans":[
            {"address":"192.0.2.7","clients":["192.0.2.7"],"listener":null,"until":null,
             "remaining_seconds":null},
            {"address":"192.0.2.8","clients":["192.0.2.8"],"listener":"web",
             "until":"2026-11-21T19:00:00Z","remaining_seconds":65}],"max_bans":5}"#;
        let told = "\
ADDRESS    CLIENT     LISTENER  UNTIL                    LEFT
192.0.2.7  192.0.2.7  (all)     -                     forever
192.0.2.8  192.0.2.8  web       2026-11-21T19:00:00Z     1m5s
";
        assert_eq!(bans(body).unwrap(), told);
        let none = r#"{"bans":[],"max_bans":5}"#;
        assert_eq!(
            bans(none).unwrap(),
            "nobody is banned (there may be 5 bans)"
        );
    }
}
