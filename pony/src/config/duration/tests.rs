use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

#[test]
fn reads_what_go_reads() {
    const HOUR: u64 = 3_600_000_000_000;
    let rows = [
        ("0s", 0),
        ("0h0m", 0),
        ("1ns", 1),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1μs", 1_000),
        ("500ms", 500_000_000),
        ("1m", 60_000_000_000),
        ("1h30m", HOUR + HOUR / 2),
        ("1.5h", HOUR + HOUR / 2),
        (".5s", 500_000_000),
        ("5.s", 5_000_000_000),
        ("+5s", 5_000_000_000),
        ("1h1m1s1ms1us1ns", HOUR + 61_001_001_001),
        ("1m1m", 120_000_000_000),
        ("0.0000000019s", 1),
        ("0.333333333333333333333333333333333333h", HOUR / 3 - 1),
        ("2562047h47m16.854775807s", i64::MAX.unsigned_abs()),
    ];
    for (text, nanos) in rows {
        assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
    }
}

#[test]
fn says_what_to_write_instead() {
    let rows = [
        ("", "is empty", "\"30s\""),
        ("60", "without a unit", "\"60s\""),
        ("0", "without a unit", "\"0s\""),
        ("1.5", "without a unit", "\"1.5s\""),
        ("-3", "without a unit", "\"3s\""),
        ("-3s", "is negative", "positive"),
        ("1d", "is not a duration", "\"24h\""),
        ("2 weeks", "is not a duration", "\"336h\""),
        ("1M", "is not a duration", "\"1m\""),
        ("1 m", "is not a duration", "\"1m\""),
        (" 30s ", "is not a duration", "\"30s\""),
        ("5 min", "is not a duration", "\"5m\""),
        ("10 Seconds", "is not a duration", "\"10s\""),
        ("3 hours", "is not a duration", "\"3h\""),
        ("250 millis", "is not a duration", "\"250ms\""),
        ("1h30", "is not a duration", "\"1h30m\""),
        (".s", "is not a duration", "\"30s\""),
        ("s", "is not a duration", "\"30s\""),
        ("1..5s", "is not a duration", "\"30s\""),
        ("--1s", "is not a duration", "\"30s\""),
        ("1s-1s", "is not a duration", "\"30s\""),
        ("for ever", "is not a duration", "\"30s\""),
        ("99999999999999999999999h", "is too long", "\"2562047h\""),
        ("2562047h47m16.854775808s", "is too long", "\"2562047h\""),
        ("99999999999999999d", "is not a duration", "\"30s\""),
    ];
    for (text, message, remedy) in rows {
        let complaint = parse(text).unwrap_err();
        assert!(complaint.message.contains(message), "{text}: {complaint:?}");
        assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
    }
}

proptest! {
    #[test]
    fn agrees_with_plain_arithmetic(parts in prop::collection::vec((0_u64..100_000, 0_u32..1_000_000, 0..UNITS.len()), 1..5)) {
        let mut text = String::new();
        let mut total = 0_u128;
        for (whole, millionths, unit) in parts {
            let (name, nanos) = UNITS[unit];
            write!(text, "{whole}.{millionths:06}{name}").unwrap();
            total += (u128::from(whole) * 1_000_000 + u128::from(millionths)) * u128::from(nanos) / 1_000_000;
        }
        prop_assert_eq!(parse(&text).unwrap().as_nanos(), total);
    }

    #[test]
    fn what_is_written_is_read_again(nanos in 0_u64..=i64::MAX as u64) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse(&format!("{nanos}ns")), Ok(duration));
        prop_assert_eq!(parse(&format!("{}.{:09}s", nanos / 1_000_000_000, nanos % 1_000_000_000)), Ok(duration));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,30}|[-+0-9.nuµmsh ]{0,40}") {
        drop(parse(&text));
    }
}
