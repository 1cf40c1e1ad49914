use super::{tree::V6_MAX_HEIGHT, *};

#[test]
fn a_rule_survives_being_a_row() {
    let rule = Rule {
        per_client: true,
        reset: false,
        action: Action::Throttle,
        ipv6_prefix: 56,
        attempts: AttemptLimit {
            max: u32::MAX,
            window: Nanos::from_secs(60),
        },
        bandwidth: BandwidthLimit {
            limit: 1 << 60,
            window: Nanos::from_secs(3_600),
            action: Action::Throttle,
            throttle_minimum: 7,
        },
    };
    let other = Rule {
        per_client: false,
        reset: true,
        action: Action::LogOnly,
        bandwidth: BandwidthLimit {
            action: Action::LogOnly,
            ..rule.bandwidth
        },
        ..rule
    };
    assert_eq!(Rule::from_row(&rule.to_row()), rule);
    assert_eq!(Rule::from_row(&other.to_row()), other);
}

#[test]
fn only_an_image_of_this_schema_has_a_header() {
    let header = Header {
        generation: 1 << 40,
        listeners: 3,
        rules: 1,
        standings: 4,
        v4: 5,
        v4_shift: 13,
        v6: Place::tree(Place::MAX_ROW, V6_MAX_HEIGHT),
    };
    let mut rows = [header.to_row()];
    assert_eq!(Header::read(&rows[..]), Some(header));
    assert_eq!(header.generation(), 1 << 40);
    rows[0].0[0] += 1;
    assert_eq!(Header::read(&rows[..]), None);
    assert_eq!(Header::read(&[][..]), None);
}

#[test]
fn a_broken_image_denies_nobody() {
    let header = Header {
        generation: 1,
        listeners: 1,
        rules: 100,
        standings: 100,
        v4: 100,
        v4_shift: 16,
        v6: Place::tree(0, V6_MAX_HEIGHT),
    };
    let rows = [header.to_row()];
    assert_eq!(header.rule(&rows[..], 0), None);
    for addr in [Addr16::from_v4([192, 0, 2, 1]), Addr16::from_v6([0x20; 16])] {
        assert_eq!(header.standing(&rows[..], 0, addr), Standing::Limited);
        assert_eq!(header.standing(&rows[..], 9, addr), Standing::Limited);
    }
}
