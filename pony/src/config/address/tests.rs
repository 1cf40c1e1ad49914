use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<HostPort, Complaint> {
    HostPort::parse(
        text,
        Protocol::Tcp,
        &Services::from_text("web 8000/tcp\nweb 8001/udp\n"),
    )
}

fn again(address: &HostPort) -> Result<HostPort, Complaint> {
    read(&address.to_string())
}

#[test]
fn addresses_are_read_and_shown() {
    let rows = [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:0080", "0.0.0.0:80"),
        (":8080", ":8080"),
        ("[::]:80", "[::]:80"),
        ("[2001:0DB8::1]:80", "[2001:db8::1]:80"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
        ("example.com:443", "example.com:443"),
        ("Example.com.:443", "Example.com.:443"),
        ("my_host-1:1", "my_host-1:1"),
        ("localhost:web", "localhost:8000"),
        ("localhost:http-alt", "localhost:8080"),
        (" a:1 ", "a:1"),
        ("a:0", "a:0"),
        ("a:65535", "a:65535"),
    ];
    for (text, shown) in rows {
        assert_eq!(read(text).unwrap().to_string(), shown, "{text}");
    }
}

#[test]
fn service_names_depend_on_the_protocol() {
    let services = Services::from_text("web 8000/tcp\nweb 8001/udp\n");
    assert_eq!(
        HostPort::parse("a:web", Protocol::Udp, &services)
            .unwrap()
            .port,
        8001
    );
}

#[test]
fn says_what_to_write_instead() {
    let rows = [
        ("", "is empty", "host:port"),
        ("8080", "has no host", "\":8080\""),
        ("localhost", "has no port", "\"localhost:PORT\""),
        ("localhost:", "no port after the colon", "1 to 65535"),
        ("[::1]", "has no port", "\"[::1]:PORT\""),
        ("::1", "without brackets and port", "\"[::1]:PORT\""),
        ("fe80::1:80:90:z", "more colons", "in brackets"),
        ("a:b:80", "more colons", "in brackets"),
        ("*:80", "is not an address", "\":80\""),
        ("[::1:80", "brackets that do not match", "[2001:db8::1]:80"),
        (
            "[1.2.3.4]:80",
            "something else than an IPv6 address",
            "\"1.2.3.4:PORT\"",
        ),
        (
            "[host]:80",
            "something else than an IPv6 address",
            "[2001:db8::1]:80",
        ),
        ("[fe80::1%eth0]:80", "has an IPv6 zone", "without \"%\""),
        ("010.0.0.1:80", "leading zeros", "10.0.0.1"),
        ("000.0.0.1:80", "leading zeros", "0.0.0.1"),
        ("1.2.3:80", "is not an IPv4 address", "four numbers"),
        ("256.1.1.1:80", "is not an IPv4 address", "0 to 255"),
        ("tcp://a:80/x", "is a URL", "\"a:80\""),
        ("http://a", "is a URL", "\"a:PORT\""),
        ("a:65536", "port out of range", "1 to 65535"),
        ("a:99999999999999999999", "port out of range", "1 to 65535"),
        ("a:-1", "nor a known tcp service", "/etc/services"),
        ("a:webb", "nor a known tcp service", "/etc/services"),
        (
            "a b:80",
            "neither an address nor a host name",
            "example.com:80",
        ),
        (
            "-a:80",
            "neither an address nor a host name",
            "example.com:80",
        ),
        (
            "a..b:80",
            "neither an address nor a host name",
            "example.com:80",
        ),
        ("größe:80", "letters beyond ASCII", "xn--"),
    ];
    for (text, message, remedy) in rows {
        let complaint = read(text).unwrap_err();
        assert!(complaint.message.contains(message), "{text}: {complaint:?}");
        assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
    }
    let label = "a".repeat(64);
    assert!(read(&format!("{label}:80")).is_err());
    assert!(read(&format!("{}:80", "a.".repeat(130))).is_err());
}

proptest! {
    #[test]
    fn every_socket_address_is_read(ip in any::<IpAddr>(), port in 1_u16..) {
        let address = std::net::SocketAddr::new(ip, port);
        let read = read(&address.to_string()).unwrap();
        prop_assert_eq!(&read, &HostPort { host: Host::Ip(ip.to_canonical()), port });
        prop_assert_eq!(again(&read), Ok(read));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,30}|[-a-f0-9.:%/\\[\\]*]{0,30}") {
        drop(read(&text));
    }
}
