//! Every reason is documented: people meet it as a metric label and look it up.

use super::{Problem, source::Source};

/// Where the reasons are, and where people look.
const REASONS: &str = "pony-common/src/reason.rs";
const DOCUMENT: &str = "README.md";

/// Each reason's label occurs in a row of a table of the README, once there is a README.
pub(super) fn all_are_documented(sources: &[Source]) -> Vec<Problem> {
    let named = |path: &str| sources.iter().find(|source| source.path == path);
    let (Some(reasons), Some(document)) = (named(REASONS), named(DOCUMENT)) else {
        return Vec::new();
    };
    let rows: Vec<_> = document
        .text
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    labels(reasons)
        .filter(|(_, label)| {
            let code = format!("`{label}`");
            !rows.iter().any(|row| row.contains(&code))
        })
        .map(|(line, label)| {
            let message = format!("reason `{label}` is in no table of {DOCUMENT}");
            Problem::new(reasons, line, message)
        })
        .collect()
}

/// The labels: what the arms of `as_str` give.
fn labels(reasons: &Source) -> impl Iterator<Item = (usize, &str)> {
    let outside_tests = reasons
        .lines()
        .take_while(|(_, text, _)| !text.contains("#[cfg(test)]"));
    outside_tests.filter_map(|(line, text, code)| {
        let arm = code.find("=> ___")?;
        let label = text.get(arm..)?.split('"').nth(1)?;
        Some((line, label))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "match self {\n Self::Acl => \"acl\",\n Self::Total => \"total_limit\",\n}\n\
                       #[cfg(test)]\n{ X => \"not_a_reason\" }";

    fn problems(readme: &str) -> Vec<Problem> {
        let sources = [Source::new(REASONS, TWO), Source::new(DOCUMENT, readme)];
        all_are_documented(&sources)
    }

    #[test]
    fn every_reason_is_in_a_table() {
        assert_eq!(problems("| `acl` | x |\n| `total_limit` | y |\n"), []);
        let missing = problems("| `acl` | x |\nthe `total_limit`\n");
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].line, 3);
    }

    #[test]
    fn without_a_readme_nothing_is_asked() {
        assert_eq!(all_are_documented(&[Source::new(REASONS, TWO)]), []);
    }
}
