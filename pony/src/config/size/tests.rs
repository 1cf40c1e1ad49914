use proptest::prelude::*;

use super::*;

#[test]
fn reads_powers_of_1024_in_any_spelling() {
    let rows = [
        ("", 0),
        ("0", 0),
        ("0B", 0),
        ("512", 512),
        ("512B", 512),
        ("1KB", 1 << 10),
        ("1KiB", 1 << 10),
        ("10mb", 10 << 20),
        ("10Mb", 10 << 20),
        ("10 MB", 10 << 20),
        (" 10MB ", 10 << 20),
        ("1.5MB", 3 << 19),
        ("1.5 gib", 3 << 29),
        ("2tB", 2 << 40),
        ("1TiB", 1 << 40),
        ("1.9B", 1),
        ("0.0001KB", 0),
        ("16777215TB", 16_777_215 << 40),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in rows {
        assert_eq!(parse(text), Ok(bytes), "{text}");
    }
}

#[test]
fn says_what_to_write_instead() {
    let rows = [
        ("10M", "is not a size", "\"10MB\""),
        ("10 k", "is not a size", "\"10KB\""),
        ("3 megabytes", "is not a size", "\"512KB\""),
        ("5 bytes", "is not a size", "\"5B\""),
        (".5MB", "is not a size", "\"0.5MB\""),
        ("5.MB", "is not a size", "\"512KB\""),
        ("1PB", "is not a size", "\"512KB\""),
        ("1e3B", "is not a size", "\"512KB\""),
        ("MB", "is not a size", "\"512KB\""),
        ("lots", "is not a size", "\"512KB\""),
        ("1.5", "without a unit", "\"1.5MB\""),
        ("-1MB", "is negative", "\"10MB\""),
        ("--1MB", "is not a size", "\"512KB\""),
        ("16777216TB", "is larger than any size", "16777215TB"),
        ("99999999999TB", "is larger than any size", "16777215TB"),
        (
            "18446744073709551616",
            "is larger than any size",
            "16777215TB",
        ),
    ];
    for (text, message, remedy) in rows {
        let complaint = parse(text).unwrap_err();
        assert!(complaint.message.contains(message), "{text}: {complaint:?}");
        assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
    }
}

proptest! {
    #[test]
    fn agrees_with_plain_arithmetic(
        whole in 0_u64..1_000_000,
        millionths in 0_u32..1_000_000,
        unit in 0..UNITS.len(),
        space in " {0,2}",
    ) {
        let (name, scale) = UNITS[unit];
        let text = format!("{whole}.{millionths:06}{space}{name}");
        let exact = (u128::from(whole) * 1_000_000 + u128::from(millionths)) * u128::from(scale) / 1_000_000;
        prop_assert_eq!(u128::from(parse(&text).unwrap()), exact);
        prop_assert_eq!(parse(&text.to_lowercase()), parse(&text));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,30}|[-+0-9.kmgtibKMGTIB ]{0,40}") {
        drop(parse(&text));
    }
}
