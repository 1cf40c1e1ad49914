use proptest::prelude::*;

use super::*;

#[test]
fn addresses_and_prefixes_take_one_form() {
    let rows = [
        ("192.0.2.7", "192.0.2.7/32", false),
        ("10.0.0.0/8", "10.0.0.0/8", false),
        ("0.0.0.0/0", "0.0.0.0/0", false),
        ("::/0", "::/0", false),
        ("2001:DB8::/32", "2001:db8::/32", false),
        ("::1", "::1/128", false),
        ("::ffff:10.0.0.1", "10.0.0.1/32", false),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", false),
        ("::ffff:0:0/96", "0.0.0.0/0", false),
        (" 10.0.0.1 ", "10.0.0.1/32", false),
        ("192.168.1.1/24", "192.168.1.0/24", true),
        ("2001:db8::1/32", "2001:db8::/32", true),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8", true),
    ];
    for (text, net, was_masked) in rows {
        assert_eq!(
            parse(text),
            Ok(Prefix {
                net: net.parse().unwrap(),
                was_masked
            }),
            "{text}"
        );
    }
}

#[test]
fn says_what_to_write_instead() {
    let rows = [
        ("", "is empty", "\"10.0.0.0/8\""),
        ("*", "is not an address", "\"::/0\""),
        ("ANY", "is not an address", "\"0.0.0.0/0\""),
        ("010.0.0.1", "leading zeros", "write 10.0.0.1"),
        ("010.0.0.0/8", "leading zeros", "write 10.0.0.0"),
        ("10.0.0", "is not an IPv4 address", "four numbers"),
        ("10.0.0.256", "is not an IPv4 address", "0 to 255"),
        ("10.0.0.0/33", "out of range", "from 0 to 32"),
        ("10.0.0.0/", "out of range", "from 0 to 32"),
        ("10.0.0.0/+8", "out of range", "from 0 to 32"),
        ("10.0.0.0/-1", "out of range", "from 0 to 32"),
        ("::/129", "out of range", "from 0 to 128"),
        ("10.0.0.0/255.0.0.0", "netmask", "\"10.0.0.0/8\""),
        ("10.0.0.1-10.0.0.9", "is a range", "one entry each"),
        ("10.0.0.1 - 10.0.0.9", "is a range", "one entry each"),
        ("fe80::1%eth0", "has an IPv6 zone", "without \"%\""),
        ("example.com", "is a name", "its addresses"),
        ("example.com/24", "is a name", "its addresses"),
        ("[::1]", "brackets or a port", "\"::1\""),
        ("[::1]:80", "brackets or a port", "\"::1\""),
        ("10.0.0.1:80", "brackets or a port", "\"10.0.0.1\""),
        ("::ffff:10.0.0.0/90", "shorter than /96", "\"0.0.0.0/0\""),
        ("10.0.*", "is not an address or a prefix", "\"10.0.0.0/8\""),
        ("10", "is not an address or a prefix", "\"10.0.0.0/8\""),
        ("10.0.0.0/8/8", "out of range", "from 0 to 32"),
    ];
    for (text, message, remedy) in rows {
        let complaint = parse(text).unwrap_err();
        assert!(complaint.message.contains(message), "{text}: {complaint:?}");
        assert!(complaint.remedy.contains(remedy), "{text}: {complaint:?}");
    }
}

proptest! {
    #[test]
    fn a_prefix_keeps_the_leading_bits(ip in any::<Ipv4Addr>(), len in 0_u8..=32) {
        let kept = if len == 0 { 0 } else { u32::from(ip) >> (32 - len) << (32 - len) };
        let expected = IpNet::new(Ipv4Addr::from(kept).into(), len).unwrap();
        let was_masked = kept != u32::from(ip);
        let plain = parse(&format!("{ip}/{len}")).unwrap();
        prop_assert_eq!(plain, Prefix { net: expected, was_masked });
        prop_assert_eq!(parse(&format!("::ffff:{ip}/{}", len + 96)).unwrap(), plain);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,30}|[-a-f0-9.:%/]{0,30}") {
        drop(parse(&text));
    }
}
