use super::*;

fn read(text: &str) -> Result<Listen, Complaint> {
    Listen::parse(text, Protocol::Tcp, &Services::from_text("web 8000/tcp\n"))
}

/// The place for its socket, and the span.
fn shown(text: &str) -> (String, Option<String>) {
    let listen = read(text).unwrap();
    (
        listen.at.to_string(),
        listen.span.map(|span| span.to_string()),
    )
}

#[test]
fn ranges_and_prefixes_are_read_and_shown() {
    let rows = [
        (
            "0.0.0.0:10000-20000",
            "0.0.0.0:10000",
            "0.0.0.0:10000-20000",
        ),
        (":10000-20000", ":10000", "[::]:10000-20000"),
        ("[::]:1000-2000", "[::]:1000", "[::]:1000-2000"),
        ("[::/0]:1000-2000", "[::]:1000", "[::]:1000-2000"),
        ("192.0.2.1:1-65535", "192.0.2.1:1", "192.0.2.1:1-65535"),
        ("[2001:db8::1]:1-2", "[2001:db8::1]:1", "[2001:db8::1]:1-2"),
        (
            "192.0.2.0/24:1000-2000",
            "192.0.2.0:1000",
            "192.0.2.0/24:1000-2000",
        ),
        ("192.0.2.0/24:web", "192.0.2.0:8000", "192.0.2.0/24:8000"),
        (
            "[2001:db8::/64]:443",
            "[2001:db8::]:443",
            "[2001:db8::/64]:443",
        ),
        ("192.0.2.1/32:0010-11", "192.0.2.1:10", "192.0.2.1:10-11"),
        ("[::ffff:192.0.2.0/120]:9", "192.0.2.0:9", "192.0.2.0/24:9"),
    ];
    for (text, at, span) in rows {
        assert_eq!(
            shown(text),
            (at.to_owned(), Some(span.to_owned())),
            "{text}"
        );
        let again = read(span).unwrap();
        assert_eq!(again.span, read(text).unwrap().span, "{text}");
    }
}

#[test]
fn what_can_be_said_as_an_address_is_one() {
    let rows = [
        ("192.0.2.1:80", "192.0.2.1:80"),
        ("192.0.2.1:80-80", "192.0.2.1:80"),
        ("192.0.2.1/32:80", "192.0.2.1:80"),
        ("0.0.0.0/0:80", "0.0.0.0:80"),
        (":80-80", ":80"),
        ("localhost:http-alt", "localhost:8080"),
        ("a:0", "a:0"),
    ];
    for (text, at) in rows {
        assert_eq!(shown(text), (at.to_owned(), None), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_a_remedy() {
    let rows = [
        (":2000-1000", "ends before it begins", "first: 1000-2000"),
        (":0-10", "out of range", "1 to 65535"),
        (":1-65536", "out of range", "1 to 65535"),
        ("192.0.2.0/24:0", "port 0", "1 to 65535"),
        ("localhost:1-2", "of a name", "an address or a prefix"),
        ("192.0.2.1/24:80", "bits behind", "192.0.2.0/24"),
        ("2001:db8::/64:80", "more colons", "[2001:db8::/64]:PORT"),
        ("192.0.2.0/33:80", "out of range", "0 to 32"),
        ("a/24:80", "is a name", "not resolved"),
        (":-5", "neither a number nor", "1 to 65535"),
        ("*:1-2", "is not an address", ":1-2"),
    ];
    for (text, message, remedy) in rows {
        let complaint = read(text).unwrap_err();
        assert!(complaint.message.contains(message), "{text}: {complaint:?}");
        assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
    }
}

#[test]
fn spans_overlap_where_they_have_a_port_of_an_address_in_common() {
    let span = |text| read(text).unwrap().span.unwrap();
    let rows = [
        ("0.0.0.0:10-20", "192.0.2.1:20-30", true),
        ("0.0.0.0:10-20", "192.0.2.1:21-30", false),
        ("192.0.2.0/24:10-20", "192.0.2.128/25:15-16", true),
        ("192.0.2.0/25:10-20", "192.0.2.128/25:10-20", false),
        ("0.0.0.0:10-20", "[::]:20-30", true),
        ("192.0.2.1:10-20", "[2001:db8::/32]:10-20", false),
        ("[2001:db8::/32]:1-2", "[2001:db8:1::/48]:2-3", true),
    ];
    for (a, b, expected) in rows {
        let (a, b) = (span(a), span(b));
        assert_eq!(a.overlaps(false, (&b, false)), expected, "{a} {b}");
        assert_eq!(b.overlaps(false, (&a, false)), expected, "{b} {a}");
    }
    let (v4, v6) = (span("0.0.0.0:10-20"), span("[::]:10-20"));
    assert!(!v4.overlaps(false, (&v6, true)));
}
