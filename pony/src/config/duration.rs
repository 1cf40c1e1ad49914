//! Durations in Go's syntax: `1h30m`, `1.5h`, `500ms`.
//!
//! Exact to the nanosecond: fractions are cut, never rounded through a float. The sum fits a signed
//! 64-bit count of nanoseconds, as in Go.

use std::time::Duration;

use super::problem::Complaint;

/// Unit names with their nanoseconds; a name comes before those that it begins.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

const EXAMPLES: &str = "write a duration such as \"30s\", \"5m\" or \"1h30m\"";

/// Reads one duration.
pub(super) fn parse(text: &str) -> Result<Duration, Complaint> {
    match nanos(text) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos)),
        Err(Fault::TooLong) => Err(Complaint::new(
            "is too long for a duration",
            "write at most \"2562047h\" (292 years), or leave the key out",
        )),
        Err(Fault::Negative) => Err(Complaint::new(
            "is negative",
            "write a positive duration such as \"30s\", or \"0s\" where that turns something off",
        )),
        Err(Fault::Syntax) => Err(complain(text)),
    }
}

/// What to write instead of a bare number.
pub(super) fn bare_number(number: &str) -> Complaint {
    Complaint::new(
        "is a duration without a unit",
        format!("write \"{number}s\" for seconds, or another unit: ms, m, h"),
    )
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Syntax,
    Negative,
    TooLong,
}

fn nanos(text: &str) -> Result<u64, Fault> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if let Some(positive) = text.strip_prefix('-') {
        return Err(match nanos(positive) {
            Err(Fault::Syntax | Fault::Negative) => Fault::Syntax,
            _ => Fault::Negative,
        });
    }
    if rest.is_empty() {
        return Err(Fault::Syntax);
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (part, after) = component(rest)?;
        total = total
            .checked_add(part)
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or(Fault::TooLong)?;
        rest = after;
    }
    Ok(total)
}

/// The nanoseconds of the first `number unit` of `text`, and what follows it.
fn component(text: &str) -> Result<(u64, &str), Fault> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Syntax);
    }
    // "m" also begins "ms", so the longest name that fits is the unit.
    let (name, unit) = UNITS
        .iter()
        .filter(|(name, _)| rest.starts_with(name))
        .max_by_key(|(name, _)| name.len())
        .ok_or(Fault::Syntax)?;
    let nanos = scaled(whole, fraction, *unit).ok_or(Fault::TooLong)?;
    Ok((nanos, &rest[name.len()..]))
}

/// The leading digits of `text`, and what follows them.
pub(super) fn digits(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `whole.fraction` times `unit`, cut to a whole number; `None` when that does not fit.
pub(super) fn scaled(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let mut value = 0_u64;
    for digit in whole.bytes() {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
    }
    // From the last digit to the first, a tenth each time: cutting at every step gives the same
    // as cutting once at the end, however long the fraction is.
    let mut part = 0_u128;
    for digit in fraction.bytes().rev() {
        part = (u128::from(digit - b'0') * u128::from(unit) + part) / 10;
    }
    value
        .checked_mul(unit)?
        .checked_add(u64::try_from(part).ok()?)
}

fn complain(text: &str) -> Complaint {
    let plain = text.trim();
    if plain.is_empty() {
        return Complaint::new("is empty", EXAMPLES);
    }
    if plain.parse::<f64>().is_ok() {
        return bare_number(plain.trim_start_matches(['-', '+']));
    }
    let remedy =
        suggestion(plain).map_or_else(|| EXAMPLES.to_owned(), |good| format!("write \"{good}\""));
    Complaint::new("is not a duration", remedy)
}

/// What was probably meant.
fn suggestion(text: &str) -> Option<String> {
    let tidy: String = text.to_lowercase().split_whitespace().collect();
    if nanos(&tidy).is_ok() {
        return Some(tidy);
    }
    let (number, unit) = digits(&tidy);
    let count: u64 = number.parse().ok()?;
    let good = match unit {
        "d" | "day" | "days" => format!("{}h", count.checked_mul(24)?),
        "w" | "week" | "weeks" => format!("{}h", count.checked_mul(7 * 24)?),
        "hr" | "hrs" | "hour" | "hours" => format!("{count}h"),
        "min" | "mins" | "minute" | "minutes" => format!("{count}m"),
        "sec" | "secs" | "second" | "seconds" => format!("{count}s"),
        "msec" | "millis" | "milliseconds" => format!("{count}ms"),
        _ => return None,
    };
    nanos(&good).is_ok().then_some(good)
}

#[cfg(test)]
mod tests;
