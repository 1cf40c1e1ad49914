use pony_common::layout::block::Scope;

use super::*;

fn held(reason: Reason, scope: Scope) -> Held {
    Held {
        client: Addr16::from_v4([192, 0, 2, 1]),
        reason,
        scope,
        until: Nanos(7),
    }
}

#[test]
fn a_block_ends_when_the_client_is_free_by_itself_unless_the_kernel_knows_better() {
    use Reason::{AttemptLimit, BandwidthLimit, ConnectionLimit};
    let rows = [
        (Protocol::Tcp, AttemptLimit, Scope::New, None),
        (Protocol::Tcp, ConnectionLimit, Scope::New, Some(Nanos(7))),
        (Protocol::Tcp, BandwidthLimit, Scope::New, Some(Nanos(7))),
        (Protocol::Udp, AttemptLimit, Scope::All, Some(Nanos::MAX)),
        (Protocol::Udp, ConnectionLimit, Scope::All, Some(Nanos(7))),
    ];
    for (protocol, reason, scope, until) in rows {
        let held = held(reason, scope);
        let expected = until.map(|until| Wanted {
            key: BlockKey {
                listener: 5,
                client: held.client,
            },
            reason,
            scope,
            until,
        });
        assert_eq!(block(5, protocol, &held), expected, "{protocol} {reason}");
    }
}
