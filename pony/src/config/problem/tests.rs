use super::*;

fn problem() -> Problem {
    Problem {
        file: "a.yaml".into(),
        line: Some(3),
        key: "server.name".to_owned(),
        value: Some("x".to_owned()),
        message: "is wrong".to_owned(),
        remedy: Some("write y".to_owned()),
    }
}

#[test]
fn a_problem_shows_what_it_has() {
    assert_eq!(
        problem().to_string(),
        "a.yaml:3: server.name: \"x\" is wrong\n    write y"
    );
    let bare = Problem {
        line: None,
        key: String::new(),
        value: None,
        remedy: None,
        ..problem()
    };
    assert_eq!(bare.to_string(), "a.yaml: is wrong");
}

#[test]
fn values_are_shown_on_one_line_and_cut() {
    assert_eq!(shown("a\nb\u{7}\u{1b}[0m"), "a\\nb\\u{7}\\u{1b}[0m");
    assert_eq!(shown("größe"), "größe");
    assert_eq!(shown(&"ä".repeat(80)).chars().count(), 80);
    assert_eq!(shown(&"ä".repeat(81)).chars().count(), 83);
}

#[test]
fn errors_are_listed_and_the_rest_is_counted() {
    let errors = Errors {
        problems: vec![problem(), problem()],
        omitted: 7,
    };
    let one = problem().to_string();
    assert_eq!(
        errors.to_string(),
        format!("{one}\n{one}\n... and 7 more; mend these first")
    );
    assert_eq!(Errors::from(problem()).to_string(), one);
}

#[test]
fn findings_come_out_in_the_order_of_the_file() {
    let findings = Findings::default();
    for at in [5, 1, 3] {
        let problem = Problem {
            key: at.to_string(),
            ..problem()
        };
        findings.add(Finding {
            problem,
            at,
            see: None,
        });
    }
    let (problems, omitted) = findings.finish(&Lines::default());
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!((keys, omitted), (vec!["1", "3", "5"], 0));
}
