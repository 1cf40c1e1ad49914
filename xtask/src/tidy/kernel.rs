//! Rules about the maps and programs of the kernel side.

use super::{
    Problem,
    source::{Source, words},
};

/// The kernel cuts longer names.
const NAME_BYTES: usize = 15;

/// The attributes of aya that make a function a program.
const PROGRAMS: [&str; 10] = [
    "xdp",
    "classifier",
    "sk_skb",
    "stream_verdict",
    "stream_parser",
    "sk_msg",
    "sk_lookup",
    "sock_ops",
    "cgroup_sock_addr",
    "socket_filter",
];

/// A map or a program, and the lines of attributes and docs before it.
struct Item<'a> {
    line: usize,
    name: &'a str,
    documented: bool,
}

pub(super) fn maps_are_documented(source: &Source) -> Vec<Problem> {
    items(source, &["map"], "static")
        .into_iter()
        .filter(|map| !map.documented)
        .map(|Item { line, name, .. }| {
            let message = format!(
                "map {name} has no doc: what one element means, who writes, who reads, what \
                 happens when full"
            );
            Problem::new(source, line, message)
        })
        .collect()
}

pub(super) fn names_fit(source: &Source) -> Vec<Problem> {
    let maps = items(source, &["map"], "static");
    let programs = items(source, &PROGRAMS, "fn");
    let declared = maps
        .iter()
        .chain(&programs)
        .map(|item| (item.line, item.name));
    declared
        .chain(constants(source))
        .filter(|(_, name)| name.len() > NAME_BYTES)
        .map(|(line, name)| {
            let message = format!("`{name}` is longer than the {NAME_BYTES} bytes a kernel keeps");
            Problem::new(source, line, message)
        })
        .collect()
}

/// The names that the daemon looks up.
fn constants(source: &Source) -> Vec<(usize, &str)> {
    if !source.is_in("pony-common/src/names") {
        return Vec::new();
    }
    source
        .lines()
        .filter(|(_, text, code)| words(code).any(|w| w == "const") && text.contains("&str"))
        .filter_map(|(line, text, _)| Some((line, text.split('"').nth(1)?)))
        .collect()
}

/// Finds what carries one of `attributes` and is declared with `keyword`.
fn items<'a>(source: &'a Source, attributes: &[&str], keyword: &str) -> Vec<Item<'a>> {
    let lines: Vec<_> = source.lines().collect();
    let marked = lines.iter().enumerate().filter(|(_, (_, _, code))| {
        let attribute = code.trim().strip_prefix("#[");
        attribute.is_some_and(|inside| {
            words(inside)
                .next()
                .is_some_and(|w| attributes.contains(&w))
        })
    });
    marked
        .filter_map(|(at, (_, attribute, _))| {
            let end = at
                + lines[at..]
                    .iter()
                    .position(|(_, _, code)| words(code).any(|word| word == keyword))?;
            let begin = at
                - lines[..at]
                    .iter()
                    .rev()
                    .take_while(|(_, t, _)| is_prefix(t))
                    .count();
            let (line, _, code) = lines[end];
            let mut declared = words(code).skip_while(|word| *word != keyword).skip(1);
            let name = declared.find(|word| *word != "mut")?;
            let renamed = attribute
                .split("name = \"")
                .nth(1)
                .and_then(|r| r.split('"').next());
            Some(Item {
                line,
                name: renamed.unwrap_or(name),
                documented: lines[begin..end]
                    .iter()
                    .any(|(_, t, _)| t.trim().starts_with("///")),
            })
        })
        .collect()
}

/// Whether a line belongs to the item after it.
fn is_prefix(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("#[") || text.starts_with("//")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(text: &str) -> Source {
        Source::new("pony-ebpf/src/maps.rs", text)
    }

    #[test]
    fn every_map_has_a_doc() {
        for good in [
            "/// One per listener.\n#[map]\nstatic LISTENERS: A = A::new();",
            "#[map]\n/// One per listener.\n#[expect(x)]\npub(crate) static mut LISTENERS: A = A;",
        ] {
            assert_eq!(maps_are_documented(&program(good)), [], "{good}");
        }
        let bad = "/// Documented.\nstatic A: u8 = 1;\n#[map]\nstatic LISTENERS: A = A::new();";
        let problems = maps_are_documented(&program(bad));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 4);
    }

    #[test]
    fn names_of_maps_and_programs_fit_into_the_kernel() {
        let good = "#[map]\nstatic ABCDEFGHIJKLMNO: A = A;\n#[xdp]\npub fn xdp_guard() {}\n\
                    #[map(name = \"SHORT\")]\nstatic MUCH_TOO_LONG_FOR_THIS: A = A;\n\
                    pub fn a_function_that_is_no_program() {}";
        assert_eq!(names_fit(&program(good)), []);
        for bad in [
            "#[map]\nstatic ABCDEFGHIJKLMNOP: A = A;",
            "#[map(name = \"ABCDEFGHIJKLMNOP\")]\nstatic A: A = A;",
            "#[xdp(frags)]\npub fn xdp_guard_of_everything() {}",
        ] {
            assert_eq!(names_fit(&program(bad)).len(), 1, "{bad}");
        }
    }

    #[test]
    fn names_that_the_daemon_looks_up_fit_into_the_kernel() {
        let names = |text: &str| names_fit(&Source::new("pony-common/src/names.rs", text));
        assert_eq!(names("pub const A: &str = \"xdp_guard\";"), []);
        assert_eq!(names("pub const A: &str = \"xdp_guard_of_all\";").len(), 1);
    }
}
