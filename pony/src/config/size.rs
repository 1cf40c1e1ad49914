//! Sizes in bytes: `10MB`, `1.5 GiB`, `512`.
//!
//! Every unit is a power of 1024, with or without the `i`, in any case. Fractions of a byte are cut.

use super::duration::{digits, scaled};
use super::problem::Complaint;

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1 << 10),
    ("KIB", 1 << 10),
    ("MB", 1 << 20),
    ("MIB", 1 << 20),
    ("GB", 1 << 30),
    ("GIB", 1 << 30),
    ("TB", 1 << 40),
    ("TIB", 1 << 40),
];

const EXAMPLES: &str = "write a size such as \"512KB\", \"10MB\" or \"1.5GB\"; units are B, KB, MB, GB and TB (1KB = 1024B)";

/// Reads one size, in bytes. Text without a unit is a number of bytes; empty text is 0.
pub(super) fn parse(text: &str) -> Result<u64, Complaint> {
    let text = text.trim();
    bytes(text).map_err(|fault| match fault {
        Fault::Syntax => complain(text),
        Fault::Negative => negative(),
        Fault::WithoutUnit => without_unit(text),
        Fault::TooLarge => too_large(),
    })
}

/// What to write instead of a bare number with decimals.
pub(super) fn without_unit(number: &str) -> Complaint {
    Complaint::new(
        "is a size with decimals but without a unit",
        format!("write a unit, such as \"{number}MB\", or whole bytes"),
    )
}

/// What to write instead of a number below 0.
pub(super) fn negative() -> Complaint {
    Complaint::new(
        "is negative",
        "write a size such as \"10MB\", or leave the key out",
    )
}

/// What to write instead of more than 64 bits can count.
pub(super) fn too_large() -> Complaint {
    Complaint::new(
        "is larger than any size",
        "write at most \"16777215TB\", or leave the key out",
    )
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Syntax,
    Negative,
    WithoutUnit,
    TooLarge,
}

fn bytes(text: &str) -> Result<u64, Fault> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Some(positive) = text.strip_prefix('-') {
        return Err(match bytes(positive) {
            Err(Fault::Syntax | Fault::Negative) => Fault::Syntax,
            _ => Fault::Negative,
        });
    }
    let (whole, rest) = digits(text);
    let (fraction, unit) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() || (rest.starts_with('.') && fraction.is_empty()) {
        return Err(Fault::Syntax);
    }
    let scale = match unit.trim_start().to_ascii_uppercase().as_str() {
        "" if fraction.is_empty() => 1,
        "" => return Err(Fault::WithoutUnit),
        unit => {
            UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or(Fault::Syntax)?
                .1
        }
    };
    scaled(whole, fraction, scale).ok_or(Fault::TooLarge)
}

fn complain(text: &str) -> Complaint {
    let remedy =
        suggestion(text).map_or_else(|| EXAMPLES.to_owned(), |good| format!("write \"{good}\""));
    Complaint::new("is not a size", remedy)
}

/// What was probably meant.
fn suggestion(text: &str) -> Option<String> {
    let tidy: String = text
        .split_whitespace()
        .collect::<String>()
        .to_ascii_uppercase();
    let tidy = if tidy.starts_with('.') {
        format!("0{tidy}")
    } else {
        tidy
    };
    let number = tidy.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &tidy[number.len()..] {
        "K" | "KBYTE" | "KBYTES" => "KB",
        "M" | "MBYTE" | "MBYTES" => "MB",
        "G" | "GBYTE" | "GBYTES" => "GB",
        "T" | "TBYTE" | "TBYTES" => "TB",
        "BYTE" | "BYTES" => "B",
        unit => unit,
    };
    let good = format!("{number}{unit}");
    bytes(&good).is_ok().then_some(good)
}

#[cfg(test)]
mod tests;
