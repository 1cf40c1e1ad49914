//! The clients for people.

use std::{fmt::Write as _, ops::Range};

use super::super::output::table;
use crate::kernel::{ClientUse, Clients, Recent, Unit};

/// A line for each client, and what was left out.
pub(super) fn text(clients: &Clients) -> String {
    if clients.clients.is_empty() {
        return "no client yet".to_owned();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(clients.clients.iter().map(cells));
    let mut text = table(&rows, NUMBERS);
    let shown = clients.clients.len();
    if shown < clients.total {
        let total = clients.total;
        write!(text, "\n{shown} of {total} clients; --limit 0 shows all")
            .expect("writing to a string cannot fail");
    }
    text
}

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] = [
    "CLIENT",
    "LISTENER",
    "PACKETS IN",
    "PACKETS OUT",
    "BYTES IN",
    "BYTES OUT",
    "ATTEMPTS",
    "WINDOW",
];
/// Numbers stand at the right.
const NUMBERS: Range<usize> = 2..7;

fn cells(client: &ClientUse) -> [String; COLUMNS] {
    [
        client.client.to_string(),
        client.listener.to_string(),
        client.packets_in.to_string(),
        client.packets_out.to_string(),
        bytes(client.bytes_in),
        bytes(client.bytes_out),
        client.attempts.to_string(),
        client.recent.map_or_else(|| "-".to_owned(), window),
    ]
}

fn window(recent: Recent) -> String {
    let Recent {
        unit,
        used,
        limit,
        window,
    } = recent;
    match unit {
        Unit::Attempts => format!("{used} of {limit} in {window:?}"),
        Unit::Bytes => format!("{} of {} in {window:?}", bytes(used), bytes(limit)),
    }
}

/// Three digits and a unit, which is a power of 1024 as in the configuration.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // In hundredths of the unit, so that only what is shown is rounded.
    let mut hundredths = u128::from(count) * 100 / 1024;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while hundredths >= 102_400 {
        hundredths /= 1024;
        unit = units.next();
    }
    let unit = unit.copied().unwrap_or("");
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match whole {
        0..10 => format!("{whole}.{rest:02} {unit}"),
        10..100 => format!("{whole}.{} {unit}", rest / 10),
        _ => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kernel::ClientName;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        let rows = [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.00 KiB"),
            (10_300, "10.0 KiB"),
            (1_048_575, "1023 KiB"),
            (1_048_576, "1.00 MiB"),
            (123_456_789_012, "114 GiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (count, expected) in rows {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn a_line_for_each_client_in_columns() {
        let client = |ip: &str, prefix, recent| ClientUse {
            client: ClientName {
                ip: ip.parse().unwrap(),
                prefix,
            },
            listener: "web".into(),
            packets_in: 12,
            packets_out: 7,
            bytes_in: 1_536,
            bytes_out: 10_485_760,
            attempts: 3,
            recent,
        };
        let recent = |unit| {
            Some(Recent {
                unit,
                used: 3,
                limit: 2_048,
                window: Duration::from_mins(1),
            })
        };
        let mut clients = Clients {
            instance: "a".to_owned(),
            is_running: true,
            generation: 1,
            total: 3,
            clients: vec![
                client("192.0.2.1", 32, recent(Unit::Attempts)),
                client("2001:db8:0:1::", 64, recent(Unit::Bytes)),
                client("2001:db8::1", 128, None),
            ],
        };
        let expected = "\
CLIENT             LISTENER  PACKETS IN  PACKETS OUT  BYTES IN  BYTES OUT  ATTEMPTS  WINDOW
192.0.2.1          web               12            7  1.50 KiB   10.0 MiB         3  3 of 2048 in 60s
2001:db8:0:1::/64  web               12            7  1.50 KiB   10.0 MiB         3  3 B of 2.00 KiB in 60s
2001:db8::1        web               12            7  1.50 KiB   10.0 MiB         3  -
";
        assert_eq!(text(&clients), expected);
        clients.total = 1_000;
        assert!(text(&clients).ends_with("\n3 of 1000 clients; --limit 0 shows all"));
        clients.clients.clear();
        assert_eq!(text(&clients), "no client yet");
    }
}
