//! Rules about words that belong into one place only.

use super::{
    Problem,
    source::{Source, words},
};

/// One door to the kernel: the rest of the daemon, and what it shares, does not know aya.
pub(super) fn aya_in_kernel_only(source: &Source) -> Vec<Problem> {
    let is_ours = ["pony/src/", "pony-common/src/", "xtask/src/"]
        .iter()
        .any(|start| source.path.starts_with(start));
    // The types that cross the door state beside themselves that they may; and who builds the
    // programs asks the verifier about them.
    let allowed = [
        "pony/src/kernel",
        "pony-common/src/layout",
        "xtask/src/build_ebpf",
    ];
    if !is_ours || allowed.iter().any(|stem| source.is_in(stem)) {
        return Vec::new();
    }
    with_word(
        source,
        |word| AYA.contains(&word),
        "`aya` is named in pony/src/kernel only",
    )
}

pub(super) fn unsafe_in_sys_only(source: &Source) -> Vec<Problem> {
    let allowed = ["pony/src/sys", "pony-ebpf", "pony-common/src/layout"];
    if allowed.iter().any(|stem| source.is_in(stem)) {
        return Vec::new();
    }
    let message = "`unsafe` belongs into pony/src/sys (or the kernel programs)";
    with_word(source, |word| word == "unsafe", message)
}

/// The repository says nothing about the machine that it was written on.
pub(super) fn no_place_of_this_machine(source: &Source) -> Vec<Problem> {
    source
        .text
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let place = PLACES.iter().find(|place| line.contains(**place))?;
            let message = format!("`{place}` exists on one machine only");
            Some(Problem::new(source, index + 1, message))
        })
        .collect()
}

fn with_word(source: &Source, is_it: impl Fn(&str) -> bool, message: &str) -> Vec<Problem> {
    source
        .lines()
        .filter(|(_, _, code)| words(code).any(&is_it))
        .map(|(line, _, _)| Problem::new(source, line, message))
        .collect()
}

const AYA: [&str; 5] = ["aya", "aya_build", "aya_ebpf", "aya_log", "aya_obj"];
/// In pieces, so that this file does not break its own rule.
const PLACES: [&str; 2] = [concat!("/wo", "rk/"), concat!("../sha", "red")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aya_is_named_in_kernel_only() {
        let problems = |path: &str| aya_in_kernel_only(&Source::new(path, "use aya::Ebpf;"));
        for good in [
            "pony/src/kernel.rs",
            "pony/src/kernel/load.rs",
            "pony-common/src/layout/flow.rs",
            "pony/tests/xdp_guard.rs",
        ] {
            assert_eq!(problems(good), [], "{good}");
        }
        for bad in [
            "pony/src/relay.rs",
            "pony/src/kernels.rs",
            "pony-common/src/limit.rs",
        ] {
            assert_eq!(problems(bad).len(), 1, "{bad}");
        }
        let named = Source::new("pony/src/a.rs", "// aya\nlet playa = \"aya\";");
        assert_eq!(aya_in_kernel_only(&named), []);
    }

    #[test]
    fn unsafe_is_written_in_sys_only() {
        let problems = |path: &str| unsafe_in_sys_only(&Source::new(path, "\nunsafe { f() }"));
        for good in [
            "pony/src/sys.rs",
            "pony/src/sys/splice.rs",
            "pony-ebpf/src/maps.rs",
        ] {
            assert_eq!(problems(good), [], "{good}");
        }
        assert_eq!(problems("pony/src/relay.rs")[0].line, 2);
        let attribute = Source::new("pony/src/lib.rs", "#![forbid(unsafe_code)] // unsafe");
        assert_eq!(unsafe_in_sys_only(&attribute), []);
    }

    #[test]
    fn places_of_one_machine_are_found_in_any_file() {
        let text = format!("a\nsee {}notes", PLACES[0]);
        assert_eq!(
            no_place_of_this_machine(&Source::new("README.md", &text))[0].line,
            2
        );
        let good = Source::new("README.md", "network/ shared/ /var/log/packetpony");
        assert_eq!(no_place_of_this_machine(&good), []);
    }
}
