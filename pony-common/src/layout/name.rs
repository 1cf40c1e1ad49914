//! `NAMES`: what the numbers of listeners mean, for those who look in from outside.

use super::listener::Transport;

/// Value of `NAMES`, whose key is the number of a listener.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct ListenerName {
    text: [u8; Self::MOST],
    len: u32,
    /// How many bits of an IPv6 address make a client.
    pub ipv6_prefix: u16,
    protocol: u16,
}

const _: () = assert!(size_of::<ListenerName>() == ListenerName::SIZE as usize);

impl ListenerName {
    /// The size of the value, for the map.
    pub const SIZE: u32 = 128 + 4 + 2 + 2;
    /// The longest name that is kept whole, in bytes.
    pub const MOST: usize = 128;

    /// A listener's name, cut if it is longer than [`Self::MOST`] bytes.
    pub fn new(name: &str, transport: Transport, ipv6_prefix: u8) -> Self {
        let len = name.floor_char_boundary(Self::MOST);
        let mut text = [0; Self::MOST];
        for (to, from) in text.iter_mut().zip(name.as_bytes().iter().take(len)) {
            *to = *from;
        }
        Self {
            text,
            len: u32::try_from(len).unwrap_or(0),
            ipv6_prefix: ipv6_prefix.into(),
            protocol: transport as u16,
        }
    }

    /// The listener's protocol. `None` if it is none that a listener can have.
    pub const fn transport(&self) -> Option<Transport> {
        Transport::from_number(self.protocol)
    }

    /// The name; empty if these bytes are none.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..self.len as usize).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }
}

// SAFETY: `repr(C)`, no padding (the size is asserted above), and any bytes make a valid value.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ListenerName {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ListenerName {
        ListenerName::new(text, Transport::Udp, 64)
    }

    #[test]
    fn keeps_a_name_and_cuts_a_long_one_between_characters() {
        assert_eq!(name("wéb").as_str(), "wéb");
        assert_eq!(name("web").transport(), Some(Transport::Udp));
        let long = "é".repeat(100);
        assert_eq!(name(&long).as_str(), "é".repeat(64));
        let odd = std::format!("x{long}");
        assert_eq!(name(&odd).as_str().len(), 127);
    }

    #[test]
    fn other_bytes_are_no_name() {
        let mut name = name("web");
        name.text[1] = 0xff;
        assert_eq!(name.as_str(), "");
        name.len = 1_000;
        assert_eq!(name.as_str(), "");
    }
}
