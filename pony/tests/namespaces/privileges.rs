//! `pony` as an ordinary user.

use crate::{
    harness::{
        Entry, Launch,
        peers::{connect, ping},
    },
    lab::{Lab, PROXY_V6, TARGET_V4, tcp},
    servers,
};

#[test]
fn an_ordinary_user_gets_a_proxy_without_the_guard_and_a_warning() {
    let Some(lab) = Lab::new() else { return };
    servers::echo(&lab.target);

    let pony = lab.start(Launch::new(&entry()).by_nobody().guard("auto"));
    assert_eq!(lab.attached(), [None, None]);
    let mut stream = lab
        .client
        .enter(|| connect(format!("{PROXY_V6}:7000").parse().unwrap()));
    ping(&mut stream, b"through the proxy");

    let warning = pony.message("Kernel guard not started: the proxy works without it");
    assert_eq!(warning["level"], "warning", "{warning}");
    let reason = warning["reason"].as_str().unwrap();
    assert!(reason.contains(REASON), "{reason}");
}

#[test]
fn an_ordinary_user_who_requires_the_guard_is_told_what_is_missing() {
    let Some(lab) = Lab::new() else { return };
    let launch = Launch::new(&entry()).by_nobody().guard("require");
    let refused = lab.proxy.enter(|| launch.finish());
    refused.expect(1, &["guard.mode is \"require\"", REASON, "CAP_BPF"]);
    assert_eq!(lab.attached(), [None, None]);
}

fn entry() -> Entry {
    tcp("echo", 7000, &format!("{TARGET_V4}:7"))
}

impl Launch {
    /// Starts it as a user who may do nothing.
    pub(crate) fn by_nobody(self) -> Self {
        self.through(&["sh", "-ec", AS_NOBODY, "sh"])
    }
}

/// Gets the words `pony run -c FILE`. The folder of the build may be closed to other users, so it
/// takes a copy of the program to that of the configuration, and opens that to all.
const AS_NOBODY: &str = r#"
folder=$(dirname "$4")
cp "$1" "$folder/pony"
chmod a+rx "$folder" "$folder/pony"
chmod a+r "$4"
shift
exec setpriv --reuid=65534 --regid=65534 --clear-groups "$folder/pony" "$@"
"#;

const REASON: &str = "not permitted to use BPF";
