use super::{
    tree::{Section, V6_MAX_HEIGHT},
    *,
};

const RULE: Rule = Rule {
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

#[test]
fn a_rule_survives_being_a_row() {
    let rule = RULE;
    let other = Rule {
        reset: true,
        action: Action::LogOnly,
        bandwidth: BandwidthLimit {
            action: Action::LogOnly,
            ..rule.bandwidth
        },
        ..rule
    };
    let lists = Lists {
        generation: 1 << 40,
        v4: 7,
        v6: Place::tree(Place::MAX_ROW, V6_MAX_HEIGHT),
        standings: &[],
    };
    let rows = [rule, other].map(|rule| rule.to_row(&lists));
    let rows = [Row::default(), rows[0], rows[1], Row::default()];
    let read = |number| Listener::read(&rows[..], number);
    assert_eq!(read(0).unwrap().rule(), rule);
    assert_eq!(read(1).unwrap().rule(), other);
    assert_eq!(read(1).unwrap().generation(), 1 << 40);
    assert!(read(2).is_none() && read(3).is_none() && read(u32::MAX).is_none());
}

#[test]
fn only_an_image_of_this_schema_has_a_header() {
    let header = Header {
        generation: 1 << 40,
        listeners: 3,
        standings: 4,
    };
    let mut rows = [header.to_row()];
    assert_eq!(Header::read(&rows[..]), Some(header));
    rows[0].0[0] += 1;
    assert_eq!(Header::read(&rows[..]), None);
    assert_eq!(Header::read(&[][..]), None);
}

#[test]
fn a_broken_image_denies_nobody() {
    let lists = |v6| Lists {
        generation: 1,
        v4: 100,
        v6,
        standings: &[],
    };
    for v6 in [Place::tree(0, V6_MAX_HEIGHT), Place::class(u16::MAX)] {
        let rows = [Row::default(), RULE.to_row(&lists(v6))];
        let listener = Listener::read(&rows[..], 0).unwrap();
        for addr in [Addr16::from_v4([192, 0, 2, 1]), Addr16::from_v6([0x20; 16])] {
            let standing = listener.standing(&rows[..], 0, addr);
            assert_eq!(standing, Standing::Limited);
        }
    }
    // Sections that lead to themselves.
    let endless = Section {
        mixed: u64::MAX,
        below: Place::sections(0, 2),
        class: 0,
    };
    let [parts, below] = endless.to_words();
    let row = Row([parts, below, parts, below, parts, below, parts, below]);
    let rows = [
        row,
        RULE.to_row(&Lists {
            v4: 0,
            ..lists(Place::class(0))
        }),
    ];
    let listener = Listener::read(&rows[..], 0).unwrap();
    let standing = listener.standing(&rows[..], 0, Addr16::from_v4([0; 4]));
    assert_eq!(standing, Standing::Limited);
}
