//! The fields of a header of version 2 that are kept: for the logs, and for the target.

use std::fmt::Write as _;

use crc::{CRC_32_ISCSI, Crc};
use proxy_header::{SslInfo, Tlv, Tlvs};

use super::HeaderError;

/// The fields that mean the same to whoever comes next. Others concern the front end and its
/// connection to us alone.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fields {
    /// The name of the connection, at most 128 bytes (section 2.2.5), whatever they are.
    pub unique_id: Option<Vec<u8>>,
    /// The host name that the client asked for, as in the SNI of TLS.
    pub authority: Option<String>,
    /// The protocol that was agreed on within TLS.
    pub alpn: Option<Vec<u8>>,
    /// What the front end knows of the client's TLS.
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
                Tlv::UniqueId(id) if id.len() > LONGEST_ID => return Err(LENGTH_OF_ID),
                Tlv::UniqueId(id) => fields.unique_id = Some(id.into_owned()),
                Tlv::Authority(name) => fields.authority = Some(name.into_owned()),
                Tlv::Alpn(name) => fields.alpn = Some(name.into_owned()),
                Tlv::Ssl(info) => fields.tls = Some(info.into_owned()),
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

const FORM: HeaderError = HeaderError::Malformed("has a field that is longer than the header");
const LENGTH_OF_ID: HeaderError = HeaderError::Malformed("has a unique id of more than 128 bytes");
