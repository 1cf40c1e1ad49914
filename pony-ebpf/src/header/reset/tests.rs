//! The answer to every fixture, byte by byte, and its checksums computed the slow way.

extern crate std;

use std::{vec, vec::Vec};

use super::*;
use crate::{
    cursor::Cursor,
    fixtures::{CLIENT_V4, LISTENER_V4, SEGMENT, rows},
    parse::{Parsed, parse},
};

/// The answer to a frame.
fn answer(frame: &[u8]) -> Vec<u8> {
    let Ok(Parsed::Packet(packet)) = read(frame) else {
        panic!("a packet");
    };
    let mut answer = Vec::from(frame);
    answer.truncate(frame_len(&packet).try_into().unwrap());
    let asked = packet.tcp().expect("a segment");
    write(&mut Writer::from(&mut answer[..]), &packet, asked).unwrap();
    answer
}

fn read(frame: &[u8]) -> Result<Parsed, pony_common::layout::reads::Malformed> {
    parse(&mut Cursor::from(frame), frame.len().try_into().unwrap())
}

/// The checksum over these bytes, a word at a time with the carry added at once.
fn naive(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u16;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (added, carried) = sum.overflowing_add(word);
        sum = added + u16::from(carried);
    }
    !sum
}

#[test]
fn answers_every_segment_among_the_fixtures() {
    let mut answered = 0;
    for row in rows() {
        let Ok(Parsed::Packet(asked)) = row.expected else {
            continue;
        };
        if asked.tcp().is_none() {
            continue;
        }
        let answer = answer(&row.frame);
        let Ok(Parsed::Packet(read)) = read(&answer) else {
            panic!("{}: the answer is no packet: {answer:?}", row.name);
        };
        let expected = Packet {
            from: asked.to,
            to: asked.from,
            payload_len: 0,
            ..read
        };
        assert_eq!(read, expected, "{}", row.name);
        let reset = Segment {
            sequence: 0,
            flags: Flags(0x14),
        };
        assert_eq!(read.tcp(), Some(reset), "{}", row.name);
        assert_eq!(read.link_len, asked.link_len, "{}", row.name);
        let link = usize::from(asked.link_len);
        assert_eq!(answer[..6], row.frame[6..12], "{}", row.name);
        assert_eq!(answer[6..12], row.frame[..6], "{}", row.name);
        assert_eq!(
            answer[12..link],
            row.frame[12..link],
            "{}: the tags",
            row.name
        );
        check_sums(row.name, &answer[link..]);
        answered += 1;
    }
    assert!(answered > 10);
}

fn check_sums(name: &str, packet: &[u8]) {
    let addresses = if packet[0] >> 4 == 4 {
        assert_eq!(naive(&[&packet[..20]]), 0, "{name}: the checksum of IPv4");
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let tcp = &packet[packet.len() - 20..];
    let sum = naive(&[addresses, &[0, 6, 0, 20], tcp]);
    assert_eq!(sum, 0, "{name}: the checksum of TCP");
}

#[test]
fn is_the_answer_that_linux_gives_for_a_closed_port() {
    let answer = answer(&rows()[0].frame);
    let [a, b, c, d] = (SEGMENT.sequence + 5 + 1).to_be_bytes();
    let mut expected = vec![2; 12];
    expected.extend([0x08, 0]);
    expected.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, answer[24], answer[25]]);
    expected.extend(LISTENER_V4);
    expected.extend(CLIENT_V4);
    expected.extend([
        0x1f, 0x90, 0x9c, 0x40, 0, 0, 0, 0, a, b, c, d, 0x50, 0x14, 0, 0,
    ]);
    expected.extend([answer[50], answer[51], 0, 0]);
    assert_eq!(answer, expected);
}

#[test]
fn the_number_after_the_last_is_zero() {
    let mut frame = rows().swap_remove(4).frame;
    frame[14 + 20 + 4..][..4].fill(0xff);
    assert_eq!(answer(&frame)[14 + 20 + 8..][..4], [0; 4]);
}
