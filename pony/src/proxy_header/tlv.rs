//! The fields of a header of version 2 that are kept: for the logs, and for the target.

use std::{borrow::Cow, fmt::Write as _};

use crc::{CRC_32_ISCSI, Crc};
use proxy_header::{SslInfo, Tlv, Tlvs};

use super::HeaderError;

/// The fields that mean the same to whoever comes next. Others concern the front end and its
/// connection to us alone.
///
/// What a client has chosen may be among them, and they are kept as long as a session lives: each has
/// a length that it cannot have more than.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields {
    /// The name of the connection, at most 128 bytes (section 2.2.5), whatever they are.
    pub unique_id: Option<Vec<u8>>,
    /// The host name that the client asked for, as in the SNI of TLS. At most 255 bytes.
    pub authority: Option<String>,
    /// The protocol that was agreed on within TLS. At most 255 bytes.
    pub alpn: Option<Vec<u8>>,
    /// What the front end knows of the client's TLS. At most 4 KiB.
    pub tls: Option<SslInfo<'static>>,
}

impl Fields {
    /// The unique id as text for logs: as it is if it can be printed, else in hexadecimal digits.
    pub fn shown_id(&self) -> Option<String> {
        let id = self.unique_id.as_deref()?;
        if !id.is_empty() && id.iter().all(u8::is_ascii_graphic) {
            return Some(String::from_utf8_lossy(id).into_owned());
        }
        Some(id.iter().fold(String::new(), |mut text, byte| {
            let _never_fails = write!(text, "{byte:02x}");
            text
        }))
    }

    /// Takes what is kept of these, if all of them are well-formed.
    pub(super) fn take(tlvs: Tlvs<'_>) -> Result<Self, HeaderError> {
        let mut fields = Self::default();
        for tlv in tlvs {
            match tlv.map_err(|_shapeless| FORM)? {
                Tlv::UniqueId(id) => fields.unique_id = Some(within(id, LONGEST_ID, LENGTH_OF_ID)?),
                Tlv::Authority(name) => {
                    fields.authority = Some(within(name, LONGEST_NAME, LENGTH_OF_AUTHORITY)?);
                }
                Tlv::Alpn(name) => {
                    fields.alpn = Some(within(name, LONGEST_NAME, LENGTH_OF_ALPN)?);
                }
                Tlv::Ssl(info) => fields.tls = Some(within_tls(info)?),
                _ => {}
            }
        }
        Ok(fields)
    }

    /// As they are written.
    pub(super) fn tlvs(&self) -> impl Iterator<Item = Tlv<'_>> {
        let id = self.unique_id.as_deref();
        let id = id.map(|id| Tlv::UniqueId(id.into()));
        let authority = self.authority.as_deref();
        let authority = authority.map(|name| Tlv::Authority(name.into()));
        let alpn = self.alpn.as_deref().map(|name| Tlv::Alpn(name.into()));
        let tls = self.tls.clone().map(Tlv::Ssl);
        [alpn, authority, id, tls].into_iter().flatten()
    }
}

/// The value as our own, if it is not longer than `most`.
fn within<T>(value: Cow<'_, T>, most: usize, error: HeaderError) -> Result<T::Owned, HeaderError>
where
    T: ToOwned + AsRef<[u8]> + ?Sized,
{
    let len = AsRef::<[u8]>::as_ref(&*value).len();
    (len <= most).then(|| value.into_owned()).ok_or(error)
}

/// Like [`within`], for a field that consists of others.
fn within_tls(info: SslInfo<'_>) -> Result<SslInfo<'static>, HeaderError> {
    let mut written = Vec::new();
    let field = Tlv::Ssl(info.into_owned());
    field.encode(&mut written);
    match field {
        Tlv::Ssl(info) if written.len() <= LONGEST_TLS => Ok(info),
        _ => Err(LENGTH_OF_TLS),
    }
}

/// Whether the checksum in the header, if there is one, is right. `tlvs` is where its fields begin.
pub(super) fn is_intact(header: &[u8], tlvs: usize) -> bool {
    let Some((place, said)) = checksum(header, tlvs) else {
        return true;
    };
    let crc = Crc::<u32>::new(&CRC_32_ISCSI);
    let mut digest = crc.digest();
    digest.update(&header[..place]);
    digest.update(&[0; 4]);
    digest.update(&header[place + 4..]);
    digest.finalize() == said
}

/// Where the checksum is, and what it says.
fn checksum(header: &[u8], tlvs: usize) -> Option<(usize, u32)> {
    let mut at = tlvs;
    loop {
        let [kind, high, low] = *header.get(at..at + 3)?.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(at + 3..at + 3 + len)?;
        if kind == CHECKSUM {
            return Some((at + 3, u32::from_be_bytes(value.try_into().ok()?)));
        }
        at += 3 + len;
    }
}

/// `PP2_TYPE_CRC32C`
const CHECKSUM: u8 = 0x03;
const LONGEST_ID: usize = 128;
/// Of a host (RFC 1035, section 2.3.4) and of a protocol (RFC 7301, section 3.1).
const LONGEST_NAME: usize = 255;
/// A certificate's name, and the names of a few algorithms.
const LONGEST_TLS: usize = 4096;

const FORM: HeaderError = HeaderError::Malformed("has a field that is longer than the header");
const LENGTH_OF_ID: HeaderError = HeaderError::Malformed("has a unique id of more than 128 bytes");
const LENGTH_OF_AUTHORITY: HeaderError =
    HeaderError::Malformed("has an authority of more than 255 bytes");
const LENGTH_OF_ALPN: HeaderError = HeaderError::Malformed("has an ALPN of more than 255 bytes");
const LENGTH_OF_TLS: HeaderError = HeaderError::Malformed("has TLS fields of more than 4096 bytes");
