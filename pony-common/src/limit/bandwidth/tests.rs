use std::{sync::atomic::AtomicU64, vec::Vec};

use proptest::prelude::*;

use super::*;

type Bandwidth = super::Bandwidth<AtomicU64>;

const SECOND: u64 = 1_000_000_000;
/// Long after boot, so that nothing depends on a clock near zero.
const START: u64 = 1_000_000 * SECOND;

fn limit(action: Action) -> BandwidthLimit {
    BandwidthLimit {
        limit: 10_000,
        window: Nanos::from_secs(10),
        action,
        throttle_minimum: 1_000,
    }
}

fn at(millis: u64) -> Nanos {
    Nanos(START + millis * 1_000_000)
}

#[test]
fn drop_grants_up_to_the_limit_and_then_nothing_until_there_is_room() {
    let limit = limit(Action::Drop);
    let used = Bandwidth::default();
    assert_eq!(used.charge(&limit, at(0), 8_000), Charge::Grant(8_000));
    assert_eq!(used.charge(&limit, at(500), 8_000), Charge::Grant(2_000));
    assert!(!used.has_room(&limit, at(500)));
    assert_eq!(used.charge(&limit, at(10_000), 1), Charge::Over);
    assert_eq!(used.charge(&limit, at(10_000), 0), Charge::Grant(0));
    // The first 8000 are forgiven 1/32 of the window late.
    assert!(used.has_room(&limit, at(10_313)));
    assert_eq!(used.charge(&limit, at(10_313), 9_000), Charge::Grant(8_000));
}

#[test]
fn a_datagram_passes_whole_or_is_dropped_and_not_counted() {
    let limit = limit(Action::Drop);
    let used = Bandwidth::default();
    assert_eq!(
        used.charge_datagram(&limit, at(0), 9_000),
        DatagramCharge::Pass
    );
    assert_eq!(
        used.charge_datagram(&limit, at(1), 1_001),
        DatagramCharge::Drop
    );
    assert_eq!(
        used.charge_datagram(&limit, at(2), 1_000),
        DatagramCharge::Pass
    );
    assert_eq!(used.charge_datagram(&limit, at(3), 1), DatagramCharge::Drop);
    assert_eq!(used.charge_datagram(&limit, at(3), 0), DatagramCharge::Pass);
    assert_eq!(
        used.charge_datagram(&limit, at(4), u64::MAX),
        DatagramCharge::Drop
    );
}

#[test]
fn log_only_grants_everything_and_says_what_was_over() {
    let limit = limit(Action::LogOnly);
    let used = Bandwidth::default();
    assert_eq!(used.charge(&limit, at(0), 9_000), Charge::Grant(9_000));
    assert_eq!(used.charge(&limit, at(0), 1_000), Charge::Grant(1_000));
    assert_eq!(used.charge(&limit, at(0), 1), Charge::GrantOver(1));
    assert_eq!(
        used.charge(&limit, at(0), u64::MAX),
        Charge::GrantOver(u64::MAX)
    );
    assert_eq!(
        used.charge_datagram(&limit, at(0), 1),
        DatagramCharge::PassOver
    );
    assert_eq!(used.charge_datagram(&limit, at(0), 0), DatagramCharge::Pass);
    assert_eq!(
        used.charge_datagram(&limit, at(10_400), 1),
        DatagramCharge::Pass
    );
}

#[test]
fn a_stream_that_waits_as_told_gets_the_throttled_rate() {
    let limit = limit(Action::Throttle);
    let used = Bandwidth::default();
    assert_eq!(used.charge(&limit, at(0), 20_000), Charge::Grant(10_000));

    let paced = drive(&used, &limit, at(0), at(9_999));
    let bytes: u64 = paced.iter().map(|(_, n)| n).sum();
    assert!(
        (980..=1_010).contains(&bytes),
        "{bytes} bytes in a window at 1000 per window"
    );
    assert!(
        paced.iter().all(|&(_, n)| n <= 10),
        "about 100 ms worth at once"
    );
}

#[test]
fn a_waiter_that_wakes_late_still_gets_the_throttled_rate() {
    let limit = limit(Action::Throttle);
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    let (mut now, mut bytes) = (at(0), 0);
    while now < at(9_990) {
        match used.charge(&limit, now, 20_000) {
            Charge::Grant(n) => bytes += n,
            Charge::Wait(wait) => now = Nanos(now.0 + wait.0 + 7_000_000),
            other => panic!("{other:?}"),
        }
    }
    assert!(bytes >= 970, "{bytes} bytes in a window at 1000 per window");
}

#[test]
fn a_throttled_stream_returns_to_full_speed_when_the_window_has_room() {
    let limit = limit(Action::Throttle);
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    let grants = drive(&used, &limit, at(0), at(10_400));
    let (when, fast) = grants
        .into_iter()
        .find(|&(_, n)| n > 10)
        .expect("full speed again");
    assert!(
        when <= at(10_313),
        "1/32 of the window late at most: {when:?}"
    );
    assert!(
        fast > 8_900,
        "only the paced bytes are still in the window: {fast}"
    );
}

#[test]
fn all_connections_of_a_client_are_paced_together() {
    let limit = limit(Action::Throttle);
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    assert!(matches!(used.charge(&limit, at(1), 500), Charge::Grant(_)));
    assert!(matches!(used.charge(&limit, at(1), 500), Charge::Wait(_)));
    assert_eq!(used.charge_datagram(&limit, at(1), 1), DatagramCharge::Drop);
}

#[test]
fn throttled_datagrams_pass_when_the_last_one_is_paid_for() {
    let limit = limit(Action::Throttle);
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    assert_eq!(
        used.charge_datagram(&limit, at(0), 100),
        DatagramCharge::Pass
    );
    assert_eq!(
        used.charge_datagram(&limit, at(999), 100),
        DatagramCharge::Drop
    );
    assert_eq!(
        used.charge_datagram(&limit, at(1_000), 100),
        DatagramCharge::Pass
    );
    assert_eq!(
        used.charge_datagram(&limit, at(1_999), 0),
        DatagramCharge::Pass
    );
}

#[test]
fn a_wait_never_outlasts_the_next_chance_of_room() {
    // One byte takes an hour, but the window has room again within 11 seconds.
    let limit = BandwidthLimit {
        throttle_minimum: 1,
        ..limit(Action::Throttle)
    };
    let limit = BandwidthLimit {
        window: Nanos::from_secs(3_600),
        ..limit
    };
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    assert_eq!(used.charge(&limit, at(1), 9), Charge::Grant(1));
    let Charge::Wait(wait) = used.charge(&limit, at(1), 9) else {
        panic!("a byte per hour was spent");
    };
    assert!(
        wait <= Nanos::from_secs(113),
        "{wait:?} is more than a slot"
    );
}

#[test]
fn a_throttled_rate_of_zero_waits_for_room() {
    let limit = BandwidthLimit {
        throttle_minimum: 0,
        ..limit(Action::Throttle)
    };
    let used = Bandwidth::default();
    used.record(&limit, at(0), 10_000);
    assert!(matches!(
        used.charge(&limit, at(1), 1),
        Charge::Wait(Nanos(1..=312_500_000))
    ));
    assert_eq!(used.charge_datagram(&limit, at(1), 1), DatagramCharge::Drop);
    assert_eq!(used.charge(&limit, at(10_400), 1), Charge::Grant(1));
}

#[test]
fn the_time_for_some_bytes_is_exact_and_never_too_short() {
    let (gib, day) = (1_u64 << 30, 86_400 * SECOND);
    for (window, rate, bytes) in [
        (60 * SECOND, 10_240, 17),
        (60 * SECOND, 5 << 20, 65_535),
        (day, 1, 65_535),
        (30 * day, 100, 65_535),
        (SECOND, gib, 1 << 20),
        (SECOND, 100 * gib, 1 << 30),
        (day, 1 << 60, u64::from(u32::MAX)),
        (1, 1, 1),
        (1_000, 7, 3),
    ] {
        let limit = BandwidthLimit {
            limit: 0,
            window: Nanos(window),
            action: Action::Throttle,
            throttle_minimum: rate,
        };
        let exact = (u128::from(bytes) * u128::from(window)).div_ceil(u128::from(rate));
        let time = u128::from(limit.time_for(bytes).0);
        assert!(
            time >= exact,
            "{window} {rate} {bytes}: {time} is shorter than {exact}"
        );
        assert!(
            time <= exact + exact / 1_000 + 1,
            "{window} {rate} {bytes}: {time} {exact}"
        );
    }
}

/// Wants a lot and waits as told, from `from` to `to`. What was granted when.
fn drive(used: &Bandwidth, limit: &BandwidthLimit, from: Nanos, to: Nanos) -> Vec<(Nanos, u64)> {
    let (mut now, mut grants) = (from, Vec::new());
    while now < to {
        match used.charge(limit, now, 1 << 20) {
            Charge::Grant(n) => grants.push((now, n)),
            Charge::Wait(wait) => now = now.saturating_add(wait),
            other => panic!("{other:?}"),
        }
    }
    grants
}

fn any_limit(action: Action) -> impl Strategy<Value = BandwidthLimit> {
    let window = prop_oneof![1_000_000..SECOND, SECOND..100 * SECOND];
    let size = || prop_oneof![0..100_u64, 0..100_000_u64, 0..10_000_000_u64];
    (size(), window, size()).prop_map(move |(limit, window, throttle_minimum)| BandwidthLimit {
        limit,
        window: Nanos(window),
        action,
        throttle_minimum,
    })
}

/// A client's life: parts of a window that pass, how many bytes it wants then, and how.
fn requests() -> impl Strategy<Value = Vec<(f64, u64, bool)>> {
    let gap = prop_oneof![3 => Just(0.0), 4 => 0.0..0.02, 3 => 0.0..0.3, 1 => 0.0..3.0];
    let want = prop_oneof![0..100_u64, 0..65_536_u64, 0..20_000_000_u64];
    prop::collection::vec((gap, want, any::<bool>()), 1..250)
}

/// What was admitted when, if the client asks as `requests` say.
fn admitted(limit: &BandwidthLimit, requests: &[(f64, u64, bool)]) -> Vec<(u64, u64)> {
    let used = Bandwidth::default();
    let (mut now, mut log) = (START, Vec::new());
    for &(gap, want, is_datagram) in requests {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a random time needs no precision"
        )]
        let gap = (gap * limit.window.0 as f64) as u64;
        now += gap;
        let bytes = if is_datagram {
            let len = want.min(65_535);
            match used.charge_datagram(limit, Nanos(now), len) {
                DatagramCharge::Pass | DatagramCharge::PassOver => len,
                DatagramCharge::Drop => 0,
            }
        } else {
            match used.charge(limit, Nanos(now), want) {
                Charge::Grant(bytes) | Charge::GrantOver(bytes) => bytes,
                Charge::Wait(_) | Charge::Over => 0,
            }
        };
        assert!(bytes <= want, "more than was wanted");
        log.push((now, bytes));
    }
    log
}

/// The most bytes in any interval of length `window`, its ends included. `log` is in order of time.
fn busiest(log: &[(u64, u64)], window: Nanos) -> u64 {
    let (mut most, mut inside, mut oldest) = (0, 0, 0);
    for &(now, bytes) in log {
        inside += bytes;
        while now - log[oldest].0 > window.0 {
            inside -= log[oldest].1;
            oldest += 1;
        }
        most = most.max(inside);
    }
    most
}

/// One quantum of a paced stream in bytes, at least one.
fn quantum(limit: &BandwidthLimit) -> u64 {
    let worth = u128::from(limit.throttle_minimum) * u128::from(QUANTUM.0);
    u64::try_from(worth.div_ceil(u128::from(limit.window.0)).max(1)).unwrap()
}

proptest! {
    #[test]
    fn drop_never_admits_more_than_the_limit_in_any_interval(
        limit in any_limit(Action::Drop),
        requests in requests(),
    ) {
        let log = admitted(&limit, &requests);
        prop_assert!(busiest(&log, limit.window) <= limit.limit);
    }

    #[test]
    fn drop_refuses_only_what_the_limit_does_not_allow(
        limit in any_limit(Action::Drop),
        requests in requests(),
    ) {
        let late = limit.window.0.div_ceil(32) * 33;
        let log = admitted(&limit, &requests);
        for (index, &(now, bytes)) in log.iter().enumerate() {
            let (_, want, is_datagram) = requests[index];
            let recent = log[..index].iter().filter(|(at, _)| now - at < late);
            let room = limit.limit.saturating_sub(recent.map(|(_, n)| n).sum());
            if is_datagram {
                let len = want.min(65_535);
                prop_assert!(bytes == len || len > room, "dropped {len} with room for {room}");
            } else {
                prop_assert!(bytes >= want.min(room), "granted {bytes} with room for {room}");
            }
        }
    }

    #[test]
    fn throttle_never_admits_more_than_the_limit_the_minimum_and_one_quantum(
        limit in any_limit(Action::Throttle),
        requests in requests(),
        only_datagrams: bool,
    ) {
        let mut requests = requests;
        for request in &mut requests {
            request.2 = only_datagrams;
        }
        let log = admitted(&limit, &requests);
        let largest = if only_datagrams {
            log.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0)
        } else {
            quantum(&limit)
        };
        let most = limit.limit + limit.throttle_minimum + largest;
        let busiest = busiest(&log, limit.window);
        prop_assert!(busiest <= most, "{busiest} > {most}");
    }

    #[test]
    fn a_greedy_throttled_stream_gets_the_minimum_and_never_more_than_the_bound(
        limit in any_limit(Action::Throttle),
        late in 0..LATENESS.0,
    ) {
        let used = Bandwidth::default();
        let (mut now, mut log) = (Nanos(START), Vec::new());
        for _ in 0..2_000 {
            match used.charge(&limit, now, u64::MAX) {
                Charge::Grant(bytes) => log.push((now.0, bytes)),
                Charge::Wait(wait) => now = Nanos(now.0 + wait.0 + late),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let most = limit.limit + limit.throttle_minimum + quantum(&limit);
        prop_assert!(busiest(&log, limit.window) <= most);

        let span = u128::from(now.0 - START);
        let promised = u128::from(limit.throttle_minimum) * span / u128::from(limit.window.0);
        let bytes: u128 = log.iter().map(|(_, n)| u128::from(*n)).sum();
        prop_assert!(bytes + u128::from(quantum(&limit)) >= promised * 9 / 10, "{bytes}");
    }

    #[test]
    fn a_throttled_client_that_was_quiet_for_a_window_has_all_of_its_limit_again(
        limit in any_limit(Action::Throttle),
        requests in requests(),
    ) {
        prop_assume!(limit.limit > 0);
        let used = Bandwidth::default();
        for &(_, want, _) in &requests {
            let _charge = used.charge(&limit, Nanos(START), want);
            let _charge = used.charge_datagram(&limit, Nanos(START), want.min(65_535));
        }
        let quiet = Nanos(START + limit.window.0.div_ceil(32) * 33);
        prop_assert_eq!(used.charge(&limit, quiet, u64::MAX), Charge::Grant(limit.limit));
    }

    #[test]
    fn log_only_admits_everything(limit in any_limit(Action::LogOnly), requests in requests()) {
        let log = admitted(&limit, &requests);
        for ((_, bytes), (_, want, is_datagram)) in log.into_iter().zip(requests) {
            prop_assert_eq!(bytes, if is_datagram { want.min(65_535) } else { want });
        }
    }

    #[test]
    fn no_limit_and_no_time_breaks_it(
        limit: u64, window: u64, throttle_minimum: u64, calls: Vec<(u64, u64)>,
    ) {
        for action in [Action::Drop, Action::Throttle, Action::LogOnly] {
            let limit = BandwidthLimit { limit, window: Nanos(window), action, throttle_minimum };
            let used = Bandwidth::default();
            for &(now, n) in &calls {
                let _charge = used.charge(&limit, Nanos(now), n);
                let _charge = used.charge_datagram(&limit, Nanos(now), n);
            }
        }
    }
}
