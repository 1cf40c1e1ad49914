//! What a request asks for, read with care: everything that is wrong is said with what to write.

use std::{net::IpAddr, time::Duration};

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::config;

/// A ban that is wanted.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct BanRequest {
    pub(super) address: IpAddr,
    pub(super) listener: Option<String>,
    /// `None`: for ever.
    pub(super) length: Option<Duration>,
}

/// Whose bans are to be lifted.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct LiftRequest {
    pub(super) address: IpAddr,
    pub(super) listener: Option<String>,
}

impl BanRequest {
    pub(super) fn read(body: &[u8]) -> Result<Self, Problem> {
        let object: Map<String, Value> = serde_json::from_slice(body).map_err(|error| {
            Problem::bad(format!("the body is no JSON object: {error}"), EXAMPLE)
        })?;
        if let Some((field, value)) = object
            .iter()
            .find(|(field, _)| !FIELDS.contains(&field.as_str()))
        {
            let remedy = format!("leave it out; there are {}", FIELDS.join(", "));
            return Err(Problem::bad("is no known field", remedy).of(field, shown(value)));
        }
        let address = text(&object, ADDRESS)?.ok_or_else(|| {
            let missing = Problem::bad("the address is missing", EXAMPLE);
            missing.of(ADDRESS, "")
        })?;
        Ok(Self {
            address: self::address(address)?,
            listener: text(&object, LISTENER)?.map(str::to_owned),
            length: length(text(&object, FOR)?.unwrap_or(DEFAULT_LENGTH))?,
        })
    }
}

impl LiftRequest {
    /// From what follows `/bans/` in the path, and what follows the question mark.
    pub(super) fn read(address: &str, query: &str) -> Result<Self, Problem> {
        let mut listener = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (field, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (field, value) = (decoded(field)?, decoded(value)?);
            if field != LISTENER {
                let problem = Problem::bad("is no known field", "leave it out; there is listener");
                return Err(problem.of(&field, value));
            }
            listener = Some(value);
        }
        Ok(Self {
            address: self::address(&decoded(address)?)?,
            listener,
        })
    }
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Problem> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let remedy = format!("put it in quotes, as in {EXAMPLE_OBJECT}");
            Err(Problem::bad("is not a text", remedy).of(field, shown(other)))
        }
    }
}

/// An IPv4 address in its mapped form is that IPv4 address.
fn address(text: &str) -> Result<IpAddr, Problem> {
    let bad = |problem, remedy| Problem::bad(problem, remedy).of(ADDRESS, text);
    let problem = match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => "is the address of nobody",
        Ok(address) => return Ok(address.to_canonical()),
        Err(_) if text.parse::<ipnet::IpNet>().is_ok() => {
            return Err(bad(
                "is a network, and a ban is for one client",
                "name one address, or put networks on the denylist of the listener",
            ));
        }
        Err(_) => "is not an IP address",
    };
    Err(bad(
        problem,
        "write an address such as 192.0.2.7 or 2001:db8::7",
    ))
}

fn length(text: &str) -> Result<Option<Duration>, Problem> {
    if text == FOREVER {
        return Ok(None);
    }
    let bad = |problem: &str, remedy: &str| Problem::bad(problem, remedy).of(FOR, text);
    match config::duration(text) {
        Ok(Duration::ZERO) => Err(bad(
            "is no time at all",
            "write how long, such as 1h, or forever",
        )),
        Ok(length) => Ok(Some(length)),
        Err((problem, remedy)) => Err(bad(&problem, &format!("{remedy}, or forever"))),
    }
}

/// Undoes `%20` and the like.
fn decoded(text: &str) -> Result<String, Problem> {
    let bad = || {
        let remedy = "write other characters than letters and digits as %XX";
        Problem::bad(format!("{text:?} is not well encoded"), remedy)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after.get(..2).ok_or_else(bad)?;
        let byte = u8::from_str_radix(digits, 16).ok();
        // Rust takes a sign for a digit.
        let byte = byte.filter(|_| !digits.starts_with('+')).ok_or_else(bad)?;
        bytes.push(byte);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok().ok_or_else(bad)
}

/// A value as an answer shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The path is none that there is.
pub(super) fn unknown_path(path: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no {path:?}"),
        "ask for /bans or /bans/ADDRESS",
    )
}

const ADDRESS: &str = "address";
pub(super) const LISTENER: &str = "listener";
const FOR: &str = "for";
const FIELDS: [&str; 3] = [ADDRESS, LISTENER, FOR];
const FOREVER: &str = "forever";
/// Long enough to look into what happens, short enough that a mistake mends itself.
const DEFAULT_LENGTH: &str = "1h";
const EXAMPLE_OBJECT: &str = r#"{"address": "192.0.2.7", "for": "1h"}"#;
const EXAMPLE: &str = r#"send an object such as {"address": "192.0.2.7", "for": "1h"}"#;

#[cfg(test)]
mod tests;
