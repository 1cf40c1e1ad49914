use super::*;

fn ban(body: &str) -> Result<BanRequest, (Option<String>, String)> {
    BanRequest::read(body.as_bytes()).map_err(|problem| told(&problem))
}

fn lift(address: &str, query: &str) -> Result<LiftRequest, (Option<String>, String)> {
    LiftRequest::read(address, query).map_err(|problem| told(&problem))
}

fn told(problem: &Problem) -> (Option<String>, String) {
    assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    (problem.details.field.clone(), problem.details.to_string())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_ban_needs_an_address_and_knows_the_rest() {
    let wanted = |length, listener: Option<&str>| BanRequest {
        address: ip("192.0.2.7"),
        listener: listener.map(str::to_owned),
        length,
    };
    let hour = Some(Duration::from_hours(1));
    let rows = [
        (r#"{"address": "192.0.2.7"}"#, wanted(hour, None)),
        (r#"{"address": "::ffff:192.0.2.7"}"#, wanted(hour, None)),
        (
            r#"{"address": "192.0.2.7", "for": null, "listener": null}"#,
            wanted(hour, None),
        ),
        (
            r#"{"address": "192.0.2.7", "for": "90s", "listener": "a b"}"#,
            wanted(Some(Duration::from_secs(90)), Some("a b")),
        ),
        (
            r#"{"address": "192.0.2.7", "for": "forever"}"#,
            wanted(None, None),
        ),
    ];
    for (body, expected) in rows {
        assert_eq!(ban(body).unwrap(), expected, "{body}");
    }
}

#[test]
fn what_is_wrong_is_told_by_field_and_value_with_a_remedy() {
    let rows = [
        ("", None, "no JSON object"),
        ("[]", None, "no JSON object"),
        (r#"{"address": "192.0.2.7""#, None, "no JSON object"),
        ("{}", Some("address"), "is missing"),
        (r#"{"address": 7}"#, Some("address"), "put it in quotes"),
        (
            r#"{"address": "pony"}"#,
            Some("address"),
            "\"pony\" is not an IP",
        ),
        (r#"{"address": "0.0.0.0"}"#, Some("address"), "of nobody"),
        (
            r#"{"address": "192.0.2.0/24"}"#,
            Some("address"),
            "denylist",
        ),
        (
            r#"{"address": "192.0.2.7", "for": "7"}"#,
            Some("for"),
            "\"7\" is a duration without a unit",
        ),
        (
            r#"{"address": "192.0.2.7", "for": "0s"}"#,
            Some("for"),
            "forever",
        ),
        (
            r#"{"address": "192.0.2.7", "for": "-1s"}"#,
            Some("for"),
            "is negative",
        ),
        (
            r#"{"address": "192.0.2.7", "until": "x"}"#,
            Some("until"),
            "there are address, listener, for",
        ),
    ];
    for (body, field, text) in rows {
        let (told_field, told) = ban(body).unwrap_err();
        assert_eq!(told_field.as_deref(), field, "{body}");
        assert!(told.contains(text), "{body}: {told}");
    }
}

#[test]
fn a_path_says_whose_bans_to_lift() {
    let wanted = |address: &str, listener: Option<&str>| LiftRequest {
        address: ip(address),
        listener: listener.map(str::to_owned),
    };
    let rows = [
        ("192.0.2.7", "", wanted("192.0.2.7", None)),
        ("2001%3adb8%3A%3a7", "", wanted("2001:db8::7", None)),
        ("::1", "listener=", wanted("::1", Some(""))),
        (
            "::1",
            "listener=a%20b%C3%A9",
            wanted("::1", Some("a b\u{e9}")),
        ),
    ];
    for (address, query, expected) in rows {
        assert_eq!(lift(address, query).unwrap(), expected, "{address} {query}");
    }
    let wrong = [
        ("192.0.2", "", "is not an IP address"),
        ("%zz", "", "not well encoded"),
        ("%+1", "", "not well encoded"),
        ("%f", "", "not well encoded"),
        ("%\u{e9}", "", "not well encoded"),
        ("::1", "listener=%FF", "not well encoded"),
        ("::1", "speed=9", "there is listener"),
    ];
    for (address, query, text) in wrong {
        let (_, told) = lift(address, query).unwrap_err();
        assert!(told.contains(text), "{address} {query}: {told}");
    }
}
