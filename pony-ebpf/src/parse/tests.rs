//! The parser on every fixture, on every part of one, and on any bytes.

extern crate std;

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::fixtures::{Row, TCP_PORT, rows};

fn parse_frame(frame: &[u8]) -> Result<Parsed, Malformed> {
    parse_part(frame, frame.len())
}

/// Parses a frame of which only the first `seen` bytes are in the first buffer.
fn parse_part(frame: &[u8], seen: usize) -> Result<Parsed, Malformed> {
    // A copy of exactly this length: a read past its end is a read past the allocation.
    let part = Vec::from(&frame[..seen]).into_boxed_slice();
    parse(&mut Cursor::from(&*part), frame.len().try_into().unwrap())
}

#[test]
fn reads_every_fixture_as_what_it_is() {
    for Row {
        name,
        frame,
        expected,
    } in rows()
    {
        assert_eq!(parse_frame(&frame), expected, "{name}");
    }
}

#[test]
fn rejects_every_prefix_of_a_packet() {
    for Row {
        name,
        frame,
        expected,
    } in rows()
    {
        let Ok(Parsed::Packet(packet)) = expected else {
            continue;
        };
        if name.contains("padded") {
            continue;
        }
        for len in 0..frame.len() {
            let parsed = parse_frame(&frame[..len]);
            assert!(
                parsed.is_err(),
                "{name}, {len} bytes of {packet:?}: {parsed:?}"
            );
        }
    }
}

#[test]
fn needs_to_see_the_headers_and_nothing_more() {
    for Row {
        name,
        frame,
        expected,
    } in rows()
    {
        let Ok(Parsed::Packet(_)) = expected else {
            continue;
        };
        let results: Vec<_> = (0..=frame.len())
            .map(|seen| parse_part(&frame, seen))
            .collect();
        let enough = results
            .iter()
            .position(|result| *result == expected)
            .unwrap();
        assert!(
            results[..enough]
                .iter()
                .all(|r| *r == Err(Malformed::Truncated)),
            "{name}"
        );
        assert!(results[enough..].iter().all(|r| *r == expected), "{name}");
    }
}

#[test]
fn a_packet_too_long_for_its_length_field_is_as_long_as_the_frame() {
    let payload = 70_000;
    for Row {
        name,
        mut frame,
        expected,
    } in rows()
    {
        let Ok(Parsed::Packet(packet)) = expected else {
            continue;
        };
        let header_len = match name {
            "TCP over IPv4" => 14 + 20 + 20,
            "TCP over IPv6" => 14 + 40 + 20,
            _ => continue,
        };
        let len_at = if packet.to.addr.is_v4() { 16 } else { 18 };
        frame[len_at..len_at + 2].fill(0);
        frame.resize(header_len + payload, 0);
        let expected = Packet {
            payload_len: 70_000,
            ..packet
        };
        assert_eq!(parse_frame(&frame), Ok(Parsed::Packet(expected)), "{name}");
    }
}

#[test]
fn a_port_keeps_its_byte_order() {
    let frame = &rows()[0].frame;
    let Ok(Parsed::Packet(packet)) = parse_frame(frame) else {
        panic!("the first fixture is a packet");
    };
    assert_eq!(packet.to.port.to_host(), TCP_PORT);
}

/// A fixture with some bytes changed, and cut or lengthened.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((0..96usize, any::<u8>()), 0..6);
    (0..rows().len(), edits, 0..200usize).prop_map(|(row, edits, len)| {
        let mut frame = rows().swap_remove(row).frame;
        for (at, byte) in edits {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if len < 160 {
            frame.resize(len, 0);
        }
        frame
    })
}

fn check(frame: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(Parsed::Packet(packet)) = parse_frame(frame) {
        let headers = 14 + if packet.to.addr.is_v4() { 20 } else { 40 } + 8;
        let most = frame.len().saturating_sub(headers);
        prop_assert!(
            packet.payload_len as usize <= most,
            "{packet:?} of {} bytes",
            frame.len()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn reads_any_bytes_without_counting_more_than_there_are(frame: Vec<u8>) {
        check(&frame)?;
    }

    #[test]
    fn reads_any_damaged_packet_without_counting_more_than_there_are(frame in mutated()) {
        check(&frame)?;
    }

    #[test]
    fn any_number_of_options_and_any_payload_are_told_apart(
        words in 0..=10u8,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let options = vec![1; usize::from(words) * 4];
        let mut frame = rows().swap_remove(1).frame;
        frame.truncate(14 + 20);
        frame.extend(&options);
        frame.extend([0x9c, 0x40, 0, 53]);
        frame.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(&payload);
        frame[14] = 0x45 + words;
        let total = u16::try_from(frame.len() - 14).unwrap().to_be_bytes();
        frame[16..18].copy_from_slice(&total);
        let Ok(Parsed::Packet(packet)) = parse_frame(&frame) else {
            return Err(TestCaseError::fail("a good packet"));
        };
        prop_assert_eq!(packet.payload_len as usize, payload.len());
    }
}
