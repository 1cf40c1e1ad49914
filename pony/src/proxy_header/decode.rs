//! From bytes to a header.
//!
//! The crate reads addresses and fields. Before it come the checks that the protocol wants and it
//! does not make: the form of a line's numbers, where a header ends, the checksum, and what a header
//! without addresses may look like.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};

use super::{Ends, Fields, Header, Transport, Version, tlv::is_intact};

/// How far a header has come.
#[derive(Debug, Eq, PartialEq)]
pub enum Progress {
    /// It is all there.
    Complete {
        /// What it says.
        header: Header,
        /// How many bytes it is long. What follows is payload.
        len: usize,
    },
    /// It may become one: this many bytes, all together, are needed to go on.
    More(usize),
}

/// Why some bytes are no header that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HeaderError {
    /// They do not begin like one.
    #[error("there is no PROXY header")]
    Missing,
    /// They begin like one.
    #[error("the PROXY header {0}")]
    Malformed(&'static str),
    /// Something changed it on its way.
    #[error("the PROXY header's checksum is wrong")]
    Checksum,
}

/// Reads the header that `bytes` begin with, or may begin with when there are more of them.
pub fn decode(bytes: &[u8], transport: Transport) -> Result<Progress, HeaderError> {
    if begins(bytes, SIGNATURE) {
        binary(bytes, transport)
    } else if transport == Transport::Stream && begins(bytes, GREETING) {
        line(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Whether `bytes` are long enough to be told from everything that is no header.
pub fn has_begun(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE) || bytes.starts_with(GREETING)
}

/// Whether one begins with the other. Nothing begins everything.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let len = bytes.len().min(with.len());
    bytes[..len] == with[..len]
}

/// Version 1, section 2.1.
fn line(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let within = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        if within.len() == LONGEST_LINE {
            return Err(HeaderError::Malformed("has no end within 107 bytes"));
        }
        return Ok(Progress::More(bytes.len() + 1));
    };
    let len = end + 1;
    let words = bytes[..end]
        .strip_suffix(b"\r")
        .ok_or(HeaderError::Malformed("has a line end without \\r"))?;
    let words: Vec<_> = words.split(|byte| *byte == b' ').collect();
    let ends = match words[..] {
        [_, b"UNKNOWN", ..] => None,
        [_, b"TCP4" | b"TCP6", _, _, from, to] => {
            if !is_plain_number(from) || !is_plain_number(to) {
                return Err(HeaderError::Malformed("has a port that is no plain number"));
            }
            let (header, _) = parse(&bytes[..len])?;
            header.proxied_address().map(ends).transpose()?
        }
        [_, b"TCP4" | b"TCP6", ..] => {
            return Err(HeaderError::Malformed(
                "has not two addresses and two ports",
            ));
        }
        _ => return Err(HeaderError::Malformed("is for an unknown protocol")),
    };
    Ok(Progress::Complete {
        header: Header {
            version: Version::V1,
            ends,
            fields: Fields::default(),
        },
        len,
    })
}

/// Digits without a sign, and without zeros in front (section 2.1).
fn is_plain_number(word: &[u8]) -> bool {
    let is_padded = word.len() > 1 && word[0] == b'0';
    word.iter().all(u8::is_ascii_digit) && !is_padded
}

/// Version 2, section 2.2.
fn binary(bytes: &[u8], transport: Transport) -> Result<Progress, HeaderError> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Progress::More(FIXED));
    };
    let [.., command, family, high, low] = *fixed;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed("has an unknown version or command")),
    };
    let (block, of) = match block(family) {
        // Of its own connection a proxy says nothing that counts, not even the family (section 2.2). Where
        // fields would begin is unknown then.
        Err(_) if is_local => (usize::from(u16::MAX), None),
        known => known?,
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let tlvs = FIXED + block;
    // What a proxy says of its own connection is of no interest, so it need not be right.
    if !is_local {
        if of.is_some_and(|of| of != transport) {
            return Err(HeaderError::Malformed("is for another transport protocol"));
        }
        if len < tlvs {
            return Err(HeaderError::Malformed("is too short for its addresses"));
        }
    }
    let Some(bytes) = bytes.get(..len) else {
        return Ok(Progress::More(len));
    };
    if !is_intact(bytes, tlvs) {
        return Err(HeaderError::Checksum);
    }
    let (ends, fields) = if is_local || of.is_none() {
        (None, Fields::default())
    } else {
        let (header, _) = parse(bytes)?;
        let fields = Fields::take(header.tlvs())?;
        (header.proxied_address().map(ends).transpose()?, fields)
    };
    Ok(Progress::Complete {
        header: Header {
            version: Version::V2,
            ends,
            fields,
        },
        len,
    })
}

/// How long the addresses of a family are, and of which transport protocol they are, if they say.
fn block(family: u8) -> Result<(usize, Option<Transport>), HeaderError> {
    Ok(match family {
        // Nothing is known, but that it is not known.
        0x00 => (0, None),
        0x11 => (12, Some(Transport::Stream)),
        0x12 => (12, Some(Transport::Datagram)),
        0x21 => (36, Some(Transport::Stream)),
        0x22 => (36, Some(Transport::Datagram)),
        0x31 => (216, Some(Transport::Stream)),
        0x32 => (216, Some(Transport::Datagram)),
        _ => return Err(HeaderError::Malformed("has an unknown address family")),
    })
}

fn parse(bytes: &[u8]) -> Result<(ProxyHeader<'_>, usize), HeaderError> {
    ProxyHeader::parse(bytes, ParseConfig::default())
        .map_err(|_one_for_all| HeaderError::Malformed("has an address that is none"))
}

fn ends(addresses: &ProxiedAddress) -> Result<Ends, HeaderError> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let source = canonical(addresses.source);
    if !can_be_client(source.ip()) {
        return Err(HeaderError::Malformed("has a source that no client has"));
    }
    Ok(Ends {
        source,
        destination: canonical(addresses.destination),
    })
}

/// A socket that is bound to one of the others has an address of this machine instead: to the target,
/// the client would be one of us.
pub(super) fn can_be_client(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

const GREETING: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line with its end, section 2.1.
const LONGEST_LINE: usize = 107;
/// Signature, version and command, family, length.
const FIXED: usize = 16;
