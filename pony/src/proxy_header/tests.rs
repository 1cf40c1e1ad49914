use std::net::SocketAddr;

use proptest::{collection::vec, prelude::*};

use super::{decode::can_be_client, *};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2: version and command, family and transport, then what follows its length.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &len, rest].concat()
}

/// 192.0.2.1:50000 to 198.51.100.2:443
const V4_ENDS: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xc3, 0x50, 0x01, 0xbb];

fn ends(source: &str, destination: &str) -> Ends {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Ends {
        source: address(source),
        destination: address(destination),
    }
}

/// What becomes of a connection that begins with these bytes.
#[track_caller]
fn decoded(bytes: &[u8]) -> (Option<Ends>, Fields, usize) {
    match decode(bytes, Transport::Stream) {
        Ok(Progress::Complete { header, len }) => (header.ends, header.fields, len),
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refused(bytes: &[u8]) -> HeaderError {
    match decode(bytes, Transport::Stream) {
        Err(error) => error,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

#[test]
fn lines_that_count() {
    let known = ends("192.0.2.1:56324", "198.51.100.2:443");
    let rows: &[(&str, Option<Ends>)] = &[
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            Some(known),
        ),
        (
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n",
            Some(ends("[2001:db8::1]:1", "[2001:db8::2]:2")),
        ),
        // A client of IPv4 on a dual-stack socket is a client of IPv4.
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 443\r\n",
            Some(known),
        ),
        // Ports from 0, as the protocol has them.
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 0 65535\r\n",
            Some(ends("192.0.2.1:0", "198.51.100.2:65535")),
        ),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::1 1234 1234\r\n", None),
        ("PROXY UNKNOWN and whatever  else\r\n", None),
    ];
    for (line, expected) in rows {
        for payload in ["", "more data", "\r\n", "PROXY TCP4 "] {
            let bytes = format!("{line}{payload}");
            let (ends, fields, len) = decoded(bytes.as_bytes());
            assert_eq!((ends, len), (*expected, line.len()), "{bytes:?}");
            assert_eq!(fields, Fields::default());
        }
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(decoded(longest.as_bytes()).2, 107);
}

#[test]
fn lines_that_do_not_count() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(300));
    let too_long = "has no end within 107 bytes";
    let (words, port) = (
        "has not two addresses and two ports",
        "has a port that is no plain number",
    );
    let (address, protocol) = ("has an address that is none", "is for an unknown protocol");
    let rows: &[(&str, &'static str)] = &[
        (&long, too_long),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n",
            "has a line end without \\r",
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", words),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 7\r\n", words),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", words),
        ("PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", words),
        ("PROXY TCP4\r\n", words),
        ("PROXY \r\n", protocol),
        ("PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", protocol),
        ("PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n", protocol),
        ("PROXY UNKNOWNS\r\n", protocol),
        ("PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n", address),
        ("PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n", address),
        ("PROXY TCP4 192.000.2.1 198.51.100.2 56324 443\r\n", address),
        ("PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n", address),
        ("PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", address),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", address),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n", port),
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1 0x1\r\n", port),
    ];
    for (line, why) in rows {
        assert_eq!(
            refused(line.as_bytes()),
            HeaderError::Malformed(why),
            "{line:?}"
        );
    }
    for line in [
        "GET / HTTP/1.1\r\n",
        "PROXYTCP4",
        "proxy TCP4 ",
        "PROXY\r\n",
        "\r\n\r\n\0\r\nQUIZ",
    ] {
        assert_eq!(refused(line.as_bytes()), HeaderError::Missing, "{line:?}");
    }
}

#[test]
fn binary_headers_that_count() {
    let known = ends("192.0.2.1:50000", "198.51.100.2:443");
    let v6 = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    let unix = vec![b'/'; 216];
    let unknown_field = [V4_ENDS, &[0xe5, 0, 2, 1, 2]].concat();
    let rows: &[(Vec<u8>, Option<Ends>)] = &[
        (binary(0x21, 0x11, V4_ENDS), Some(known)),
        (
            binary(0x21, 0x21, &v6),
            Some(ends(
                "[2020:2020:2020:2020:2020:2020:2020:2020]:1",
                "[3030:3030:3030:3030:3030:3030:3030:3030]:2",
            )),
        ),
        (binary(0x21, 0x11, &unknown_field), Some(known)),
        // The connection's own ends: a health check, an unknown family, a path.
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, V4_ENDS), None),
        (binary(0x20, 0x11, &[1, 2, 3]), None),
        (binary(0x20, 0x12, &[]), None),
        (binary(0x20, 0x41, V4_ENDS), None),
        (binary(0x20, 0xff, &[3, 0, 4, 1, 2, 3, 4]), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x00, b"nobody knows what"), None),
        (binary(0x21, 0x31, &unix), None),
        (binary(0x20, 0x00, &vec![0xff; 65_535]), None),
    ];
    for (header, expected) in rows {
        let bytes = [header, &b"payload"[..]].concat();
        let (ends, _, len) = decoded(&bytes);
        assert_eq!(
            (ends, len),
            (*expected, header.len()),
            "{:?}",
            &header[12..16]
        );
    }
}

#[test]
fn binary_headers_that_do_not_count() {
    let command = "has an unknown version or command";
    let (family, short) = (
        "has an unknown address family",
        "is too short for its addresses",
    );
    let (other, field) = (
        "is for another transport protocol",
        "has a field that is longer than the header",
    );
    let cut = [V4_ENDS, &[0x02, 0, 9, b'a']].concat();
    let no_text = [V4_ENDS, &[0x02, 0, 1, 0xff]].concat();
    let rows: &[(Vec<u8>, &'static str)] = &[
        (binary(0x11, 0x11, V4_ENDS), command),
        (binary(0x22, 0x11, V4_ENDS), command),
        (binary(0x21, 0x41, V4_ENDS), family),
        (binary(0x21, 0x10, V4_ENDS), family),
        (binary(0x21, 0x11, &V4_ENDS[..8]), short),
        (binary(0x21, 0x11, &[]), short),
        (binary(0x21, 0x21, &[0; 32]), short),
        (binary(0x21, 0x12, V4_ENDS), other),
        (binary(0x21, 0x11, &cut), field),
        (binary(0x21, 0x11, &no_text), field),
    ];
    for (header, why) in rows {
        assert_eq!(
            refused(header),
            HeaderError::Malformed(why),
            "{:?}",
            &header[12..]
        );
    }
}

#[test]
fn nobody_comes_from_no_address_from_all_of_them_or_from_a_group() {
    let nobody = HeaderError::Malformed("has a source that no client has");
    for ip in [
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "ff02::1",
        "::ffff:0.0.0.0",
        "::ffff:239.1.2.3",
    ] {
        let (keyword, destination) = if ip.contains(':') {
            ("TCP6", "2001:db8::2")
        } else {
            ("TCP4", "198.51.100.2")
        };
        let line = format!("PROXY {keyword} {ip} {destination} 56324 443\r\n");
        assert_eq!(refused(line.as_bytes()), nobody, "{line:?}");
        let header = encode(
            Version::V2,
            Transport::Stream,
            ends(
                &SocketAddr::new(ip.parse().unwrap(), 1).to_string(),
                "[2001:db8::2]:443",
            ),
            &Fields::default(),
        );
        assert_eq!(refused(&header), nobody, "{ip}");
    }
}

#[test]
fn a_datagram_has_a_binary_header_for_datagrams() {
    let decode = |bytes: &[u8]| decode(bytes, Transport::Datagram);
    assert!(matches!(
        decode(&binary(0x21, 0x12, V4_ENDS)),
        Ok(Progress::Complete { .. })
    ));
    let other = HeaderError::Malformed("is for another transport protocol");
    assert_eq!(decode(&binary(0x21, 0x11, V4_ENDS)), Err(other));
    assert_eq!(decode(b"PROXY UNKNOWN\r\n"), Err(HeaderError::Missing));
}

#[test]
fn a_checksum_must_be_right_where_there_is_one() {
    // The header of the crate's own example, whose checksum HAProxy made: 127.0.0.1:12345 to
    // 192.168.0.1:443, a checksum, the unique id "1234".
    let rest = [
        &[127, 0, 0, 1, 192, 168, 0, 1, 48, 57, 1, 187][..],
        &[5, 0, 4],
        b"1234",
        &[3, 0, 4, 0, 0, 0, 0],
    ]
    .concat();
    let mut header = binary(0x21, 0x11, &rest);
    assert_eq!(refused(&header), HeaderError::Checksum);
    let sum = crc32c(&header).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum);
    let (_, fields, _) = decoded(&header);
    assert_eq!(fields.unique_id.as_deref(), Some(&b"1234"[..]));
    header[17] ^= 1;
    assert_eq!(refused(&header), HeaderError::Checksum);
}

/// Bit by bit, as RFC 3720, appendix B.4 has it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
}

#[test]
fn ends_of_two_families_are_written_as_one() {
    let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
    let line = encode(Version::V1, Transport::Stream, mixed, &Fields::default());
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    let binary = encode(Version::V2, Transport::Stream, mixed, &Fields::default());
    assert_eq!(decoded(&binary).0, Some(mixed));
}

#[test]
fn the_longest_fields_count_and_fit_into_a_header_for_a_target() {
    let field =
        |kind: u8, len: u16| [&[kind][..], &len.to_be_bytes(), &vec![b'x'; len.into()]].concat();
    let longest = [(0x01, 255), (0x02, 255), (0x05, 128), (0x20, 4093)];
    let fields = longest.map(|(kind, len)| field(kind, len)).concat();
    let header = binary(0x21, 0x11, &[V4_ENDS, &fields].concat());
    let (_, fields, _) = decoded(&header);
    let mixed = ends("192.0.2.1:1", "[2001:db8::2]:2");
    let sent = encode(Version::V2, Transport::Stream, mixed, &fields);
    assert_eq!(decoded(&sent), (Some(mixed), fields, sent.len()));
    for (kind, len) in longest {
        let longer = [V4_ENDS, &field(kind, len + 1)].concat();
        let error = refused(&binary(0x21, 0x11, &longer));
        assert!(
            error.to_string().contains("of more than"),
            "{kind}: {error}"
        );
    }
}

#[test]
fn what_is_known_of_the_clients_tls_is_passed_on() {
    // With a certificate that was verified, `TLSv1.3`, and a common name.
    let tls = [
        &[0x07, 0, 0, 0, 0, 0x21, 0, 7][..],
        b"TLSv1.3",
        &[0x22, 0, 5],
        b"a.org",
    ]
    .concat();
    let len = u8::try_from(tls.len()).unwrap();
    let alpn = [&[0x01, 0, 2][..], b"h2"].concat();
    let header = binary(
        0x21,
        0x11,
        &[V4_ENDS, &alpn, &[0x20, 0, len], &tls].concat(),
    );
    let (ends, fields, _) = decoded(&header);
    assert_eq!(fields.alpn.as_deref(), Some(&b"h2"[..]));
    assert!(fields.tls.is_some());
    let again = encode(Version::V2, Transport::Stream, ends.unwrap(), &fields);
    assert_eq!(again, header);
}

#[test]
fn a_unique_id_is_shown_as_what_it_is() {
    let shown = |id: &[u8]| {
        Fields {
            unique_id: Some(id.to_vec()),
            ..Fields::default()
        }
        .shown_id()
    };
    assert_eq!(shown(b"a-1").as_deref(), Some("a-1"));
    assert_eq!(shown(b"a 1").as_deref(), Some("612031"));
    assert_eq!(shown(&[0, 255]).as_deref(), Some("00ff"));
    assert_eq!(Fields::default().shown_id(), None);
}

fn any_ends() -> impl Strategy<Value = Ends> {
    let address =
        || any::<SocketAddr>().prop_map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
    let client = address().prop_filter("a client's", |client| can_be_client(client.ip()));
    (client, address()).prop_map(|(source, destination)| Ends {
        source,
        destination,
    })
}

fn any_fields() -> impl Strategy<Value = Fields> {
    let id = proptest::option::of(vec(any::<u8>(), 0..=128));
    let alpn = proptest::option::of(vec(any::<u8>(), 0..20));
    (id, alpn, proptest::option::of(".{0,60}")).prop_map(|(unique_id, alpn, authority)| Fields {
        unique_id,
        authority,
        alpn,
        tls: None,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(ends in any_ends(), fields in any_fields(), payload in vec(any::<u8>(), 0..50)) {
        for (version, fields) in [(Version::V1, Fields::default()), (Version::V2, fields)] {
            let mut bytes = encode(version, Transport::Stream, ends, &fields);
            let len = bytes.len();
            bytes.extend(&payload);
            prop_assert_eq!(decoded(&bytes), (Some(ends), fields, len));
            // However it is cut, more is wanted, and never more than there is.
            for cut in 0..len {
                match decode(&bytes[..cut], Transport::Stream) {
                    Ok(Progress::More(wanted)) => prop_assert!(wanted > cut && wanted <= len.max(16)),
                    other => prop_assert!(false, "{cut}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn no_bytes_are_too_much_for_it(mut bytes in vec(any::<u8>(), 0..300), beginning in 0..4_usize, at in 0..20_usize, byte: u8) {
        let whole = binary(0x21, 0x11, V4_ENDS);
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
        let begin = [&b""[..], V2, line, &whole][beginning];
        let mut all = begin.to_vec();
        all.append(&mut bytes);
        if let Some(place) = all.get_mut(at) {
            *place = byte;
        }
        for transport in [Transport::Stream, Transport::Datagram] {
            match decode(&all, transport) {
                Ok(Progress::Complete { len, .. }) => prop_assert!(len <= all.len()),
                Ok(Progress::More(wanted)) => prop_assert!(wanted > all.len()),
                Err(_) => {}
            }
        }
    }
}
