//! IPv4 and IPv6, one port for several listeners, and whom the logs show.

use crate::harness::{
    Entry, Launch, Pony, free_port,
    peers::{
        connect, echo_target, expect_datagram, ping, ping_udp, read_to_end, source_target, udp,
        udp_client, udp_echo_target, udp_listener,
    },
};

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_is_an_ipv4_client() {
    let entry = Entry::tcp(echo_target())
        .listen("[::]:0")
        .allow("127.0.0.1");
    let pony = Launch::new(&entry)
        .and(
            &Entry::udp(udp_echo_target())
                .listen(":0")
                .allow("127.0.0.1"),
        )
        .start();
    let tcp = ("127.0.0.1", pony.address("tcp").port());
    ping(&mut connect(at(tcp)), b"hello");
    ping_udp(
        &udp_client(at(("127.0.0.1", pony.address("udp").port()))),
        b"hello",
    );
    pony.closes_with("");
    for open in pony.events("open") {
        assert_eq!(open["source_ip"], "127.0.0.1", "{open}");
    }
}

#[test]
fn ipv6_clients_are_served_and_shown() {
    let pony = Launch::new(&Entry::tcp(echo_target()).listen("[::1]:0"))
        .and(&Entry::udp(udp_echo_target()).listen("[::]:0"))
        .start();
    ping(&mut connect(pony.address("tcp")), b"hello");
    let udp = at(("::1", pony.address("udp").port()));
    ping_udp(&udp_client(udp), b"hello");
    let opens = crate::harness::wait_for("two open events", || {
        let opens = pony.events("open");
        (opens.len() == 2).then_some(opens)
    });
    for open in opens {
        assert_eq!(open["source_ip"], "::1", "{open}");
    }
}

#[test]
fn the_wildcards_of_both_families_are_two_listeners_on_one_port() {
    let port = free_port();
    let v4 = format!("0.0.0.0:{port}");
    let v6 = format!("[::]:{port}");
    let (udp_v4, v4_target) = udp_listener();
    let (udp_v6, v6_target) = udp_listener();
    let _pony = Launch::new(&Entry::tcp(source_target(4)).name("tcp4").listen(&v4))
        .and(&Entry::tcp(source_target(6)).name("tcp6").listen(&v6))
        .and(&Entry::udp(v6_target).name("udp6").listen(&v6))
        .and(&Entry::udp(v4_target).name("udp4").listen(&v4))
        .start();
    let (v4, v6) = (at(("127.0.0.1", port)), at(("::1", port)));
    assert_eq!(read_to_end(connect(v4)).len(), 4);
    assert_eq!(read_to_end(connect(v6)).len(), 6);
    udp_client(v4).send(b"four").unwrap();
    udp_client(v6).send(b"six").unwrap();
    expect_datagram(&udp_v4, b"four");
    expect_datagram(&udp_v6, b"six");
}

#[test]
fn a_listener_of_one_family_refuses_clients_of_the_other() {
    for (family, served, refused) in [(4, "127.0.0.1", "::1"), (6, "::1", "127.0.0.1")] {
        let pony = Launch::new(&Entry::tcp(echo_target()).family(family).listen(":0"))
            .and(&Entry::udp(udp_echo_target()).family(family).listen(":0"))
            .start();
        let port = pony.address("tcp").port();
        ping(&mut connect(at((served, port))), b"stream");
        let error = std::net::TcpStream::connect(at((refused, port))).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

        let port = pony.address("udp").port();
        ping_udp(&udp_client(at((served, port))), b"datagram");
        let client = udp_client(at((refused, port)));
        client.send(b"datagram").unwrap();
        let error = client.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        // Metrics and logs know two protocols only.
        assert_eq!(pony.connections("tcp", "accepted"), 1);
        for open in pony.events("open") {
            assert_eq!(open["protocol"], open["listener_name"], "{open}");
        }
    }
}

#[test]
fn tcp_and_udp_share_a_port() {
    let address = format!("127.0.0.1:{}", free_port());
    let pony = Launch::new(&Entry::tcp(echo_target()).listen(&address))
        .and(&Entry::udp(udp_echo_target()).listen(&address))
        .start();
    ping(&mut connect(pony.address("tcp")), b"stream");
    ping_udp(&udp_client(pony.address("udp")), b"datagram");
}

#[test]
fn a_reply_leaves_from_the_address_that_the_client_sent_to() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let pony = Pony::start(&Entry::udp(udp_echo_target()).listen(wildcard));
        let port = pony.address("udp").port();
        let client = udp("127.0.0.1:0");
        for ip in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2"] {
            let address = at((ip, port));
            client.send_to(ip.as_bytes(), address).unwrap();
            assert_eq!(
                expect_datagram(&client, ip.as_bytes()),
                address,
                "on {wildcard}"
            );
        }
    }
    let pony = Pony::start(&Entry::udp(udp_echo_target()).listen("[::]:0"));
    let address = at(("::1", pony.address("udp").port()));
    let client = udp("[::1]:0");
    client.send_to(b"six", address).unwrap();
    assert_eq!(expect_datagram(&client, b"six"), address);
}

fn at((ip, port): (&str, u16)) -> std::net::SocketAddr {
    (ip.parse::<std::net::IpAddr>().unwrap(), port).into()
}
