//! Files that are wrong as a whole, and texts that nobody would write.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

#[test]
fn all_problems_of_a_file_are_told_at_once_in_its_order() {
    let text = file_with(&[
        ("server", "{shutdown_timeout: 5}"),
        ("logging", "{}"),
        ("metrics", "{prometheus: {enabled: true, path: x}}"),
        ("guard", "{mode: maybe}"),
        ("protocol", "sctp"),
        ("listen_address", "nowhere"),
        ("target_address", ":80"),
        ("allowlist", "[a b]"),
        (
            "rate_limits",
            "{action: x, max_bandwidth_per_ip: 1MB, ipv6_prefix: 0}",
        ),
        ("tcp", "{keepalive: x}"),
        ("udp", "{buffer_size: x}"),
    ]);
    let problems = problems_of(&text);
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    let expected = [
        "server.name",
        "server.shutdown_timeout",
        "logging",
        "metrics.prometheus.listen_address",
        "metrics.prometheus.path",
        "guard.mode",
        "listeners[0].protocol",
        "listeners[0].listen_address",
        "listeners[0].target_address",
        "listeners[0].allowlist[0]",
        "listeners[0].rate_limits.bandwidth_window",
        "listeners[0].rate_limits.action",
        "listeners[0].rate_limits.ipv6_prefix",
        "listeners[0].tcp.keepalive",
        "listeners[0].udp.buffer_size",
    ];
    assert_eq!(keys, expected);
    assert!(problems.iter().all(|problem| problem.remedy.is_some()));
}

#[test]
fn at_most_a_hundred_problems_are_told_and_the_rest_is_counted() {
    let mut text = file_with(&[]);
    for number in 0..5000 {
        writeln!(text, "unknown_{number}: 1").unwrap();
    }
    let errors = load_text(&text).unwrap_err();
    assert_eq!((errors.problems.len(), errors.omitted), (100, 4900));
    assert_eq!(errors.problems[0].key, "unknown_0");
    assert_eq!(errors.problems[99].line, Some(BASE.len() + 100));
    assert!(
        errors
            .to_string()
            .ends_with("\n... and 4900 more; mend these first")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_a_configuration_at_all_is_one_problem() {
    let deep = format!("a: {}", "[".repeat(500));
    let deeper = format!("a:\n  {}", "[".repeat(100_000));
    let blocks = "- ".repeat(100_000);
    let bomb = bomb();
    let rows: [(&str, Option<usize>, &str, &str); 18] = [
        ("", Some(1), "holds no configuration", "`server:`"),
        (
            "# a comment\n",
            Some(2),
            "holds no configuration",
            "`server:`",
        ),
        ("---\n", Some(2), "holds no configuration", "`server:`"),
        (
            "- a\n",
            Some(1),
            "is a list, where a configuration is a block of keys",
            "`server:`",
        ),
        (
            "just words",
            Some(1),
            "is text, where a configuration is a block of keys",
            "`server:`",
        ),
        (
            "a: 1\n---\nb: 2\n",
            Some(2),
            "more than one YAML document",
            "keep one",
        ),
        (
            "---\na: 1\n--- b\n",
            Some(3),
            "more than one YAML document",
            "keep one",
        ),
        ("a: [1\nb: 2\n", Some(2), "is not valid YAML", "brackets"),
        (
            "a:\n\t- b\n",
            Some(2),
            "is not valid YAML",
            "spaces, not with tabs",
        ),
        (
            "a:\n  b: @list\n",
            Some(2),
            "is not valid YAML",
            "in quotes: \"@list\"",
        ),
        (
            "a:\n  - [x, @list]\n",
            Some(2),
            "is not valid YAML",
            "in quotes: \"@list\"",
        ),
        (
            "a: [::]:80\n",
            Some(1),
            "is not valid YAML",
            "in quotes: \"[::]:80\"",
        ),
        (
            "a: *nobody\n",
            Some(1),
            "unknown anchor",
            "in quotes: \"*nobody\"",
        ),
        ("a: &me [*me]\n", Some(1), "nested too deeply", "aliases"),
        (&deep, Some(1), "nested too deeply", "indentation"),
        (&deeper, Some(2), "nested too deeply", "brackets"),
        (&blocks, Some(1), "nested too deeply", "indentation"),
        (&bomb, None, "too many values", "@FILE"),
    ];
    for (text, line, message, remedy) in rows {
        let shown = &text[..text.len().min(40)];
        let problems = problems_of(text);
        let [problem] = &problems[..] else {
            panic!("{shown}: {problems:#?}")
        };
        assert!(problem.message.contains(message), "{shown}\n{problem}");
        assert!(
            problem.remedy.as_deref().unwrap().contains(remedy),
            "{shown}\n{problem}"
        );
        if line.is_some() {
            assert_eq!(problem.line, line, "{shown}\n{problem}");
        }
    }
}

/// A few lines of aliases that stand for a billion values.
fn bomb() -> String {
    let mut text = "l0: &l0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*l{}", level - 1); 9].join(",");
        writeln!(text, "l{level}: &l{level} [{aliases}]").unwrap();
    }
    text
}

#[test]
fn aliases_of_a_long_text_do_not_fill_the_memory() {
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 1000].join(",")
    );
    assert!(problems_of(&text)[0].message.contains("too many values"));
}

#[test]
fn an_alias_of_many_values_does_not_fill_the_memory() {
    let text = format!(
        "a: &a [{}]\nb: [{}]\n",
        vec!["x"; 10_000].join(","),
        vec!["*a"; 1000].join(",")
    );
    assert!(problems_of(&text)[0].message.contains("too many values"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_fine() {
    let text = format!("\u{feff}{}", file_with(&[]).replace('\n', "\r\n"));
    config_of(&text);
    let text = file_with(&[("tcp", "{keepalive: 5}")]).replace('\n', "\r\n");
    assert_eq!(problems_of(&text)[0].line, Some(line_of("tcp")));
}

#[test]
fn a_leading_document_marker_is_fine() {
    config_of(&format!("%YAML 1.2\n---\n{}...\n", file_with(&[])));
}

#[test]
fn problems_in_an_anchored_block_are_told_where_they_are_used() {
    let text = file_with(&[
        ("guard", "\nx-limits: &limits {action: x}"),
        ("rate_limits", "*limits"),
    ]);
    let problems = problems_of(&text);
    assert_eq!(problems[0].key, "listeners[0].rate_limits.action");
    assert_eq!(problems[0].line, Some(5));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        drop(load_text(&text));
    }

    #[test]
    fn no_yaml_makes_it_panic(text in "([a-c]|name|listeners|server|tcp|: |- |\\{|\\}|\\[|\\]|, |\n|  |<<|&a|\\*a|!t|'|\"|0|5|\\.5|~|#|---|:80|\t){0,60}") {
        drop(load_text(&text));
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(key in 0..BASE.len(), value in "\\PC{0,40}") {
        drop(load_text(&file_with(&[(BASE[key].0, &value)])));
    }

    #[test]
    fn no_member_of_any_block_makes_it_panic(
        section in prop::sample::select(schema::SECTIONS.to_vec()),
        pick in any::<prop::sample::Index>(),
        value in "\\PC{0,20}|[0-9]{1,30}|-?[0-9]{1,5}(\\.[0-9]{1,5})?|\\{\\}|\\[\\]|[0-9]{1,4}[a-zA-Z]{1,3}",
    ) {
        let (path, keys) = section;
        let (home, inner) = path.rsplit_once("[].").map_or(("guard", ""), |(_, rest)| rest.split_once('.').unwrap_or((rest, "")));
        let member = format!("{}: {value}", pick.get(keys));
        let block = if inner.is_empty() { format!("{{{member}}}") } else { format!("{{{inner}: {{{member}}}}}") };
        drop(load_text(&file_with(&[(home, &block)])));
    }
}

#[test]
fn a_file_without_listeners_is_told_to_have_some() {
    let head = "server: {name: x}\nlogging: {stdout: {enabled: true}}\n";
    let rows = [
        ("", Some(1), "is missing"),
        ("listeners:\n", Some(3), "is missing"),
        ("listeners: []\n", Some(3), "is an empty list"),
        ("listeners: web\n", Some(3), "is text, not a list"),
        (
            "listeners: {name: web}\n",
            Some(3),
            "is a block of keys, not a list",
        ),
    ];
    for (tail, line, message) in rows {
        let problems = problems_of(&format!("{head}{tail}"));
        assert_eq!(problems.len(), 1, "{tail}");
        let found = (
            problems[0].key.as_str(),
            problems[0].line,
            problems[0].message.as_str(),
        );
        assert_eq!(found, ("listeners", line, message), "{tail}");
    }
}
