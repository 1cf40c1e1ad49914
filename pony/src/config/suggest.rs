//! What a writer probably meant by a key that does not exist.

use super::schema::SECTIONS;

/// A remedy for the unknown key `name` in the block at `path`, which has the keys `known`.
pub(super) fn for_key(name: &str, path: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(name, known) {
        return format!("did you mean `{nearest}`?");
    }
    match other_home(name, path) {
        Some(home) => format!("it belongs in `{home}`"),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known key that is a few slips of the finger away.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    let (distance, nearest) = known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(&name, key), *key))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= nearest.len() / 3).then_some(nearest)
}

/// Another block that has a key of this name.
fn other_home(name: &str, path: &str) -> Option<&'static str> {
    let here = without_indices(path);
    let has_it = |(home, keys): &&(&str, &[&str])| *home != here && keys.contains(&name);
    SECTIONS.iter().find(has_it).map(|(home, _)| {
        if home.is_empty() {
            "the top level"
        } else {
            *home
        }
    })
}

/// `listeners[3].tcp` as the table of blocks spells it: `listeners[].tcp`.
pub(super) fn without_indices(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["max_connections_per_ip", "action", "name"];

    #[test]
    fn names_the_nearest_key() {
        let rows = [
            ("max_conections_per_ip", "max_connections_per_ip"),
            ("max-connections-per-ip", "max_connections_per_ip"),
            ("Max_Connections_Per_IP", "max_connections_per_ip"),
            ("acton", "action"),
            ("nmae", "name"),
        ];
        for (typed, meant) in rows {
            assert_eq!(
                for_key(typed, "x", &KNOWN),
                format!("did you mean `{meant}`?"),
                "{typed}"
            );
        }
    }

    #[test]
    fn names_the_block_that_a_key_belongs_into() {
        let remedy = for_key("session_timeout", "listeners[12]", &KNOWN);
        assert_eq!(remedy, "it belongs in `listeners[].udp`");
        assert_eq!(
            for_key("listeners", "server", &KNOWN),
            "it belongs in `the top level`"
        );
    }

    #[test]
    fn lists_the_known_keys_when_nothing_is_near() {
        assert_eq!(
            for_key("zzz", "x", &KNOWN),
            "known here: max_connections_per_ip, action, name"
        );
        let endless = "name".repeat(100_000);
        assert!(for_key(&endless, "x", &KNOWN).starts_with("known here"));
    }
}
