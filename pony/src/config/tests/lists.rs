//! Access lists: entries in the file, and in files beside it.

use std::fs;
use std::path::PathBuf;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn parse(&self, edits: &[(&str, &str)]) -> Result<Loaded, Errors> {
        parse(&file_with(edits), &self.0.path().join("pony.yaml"))
    }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn lists_mix_entries_and_files_and_keep_one_form_of_each_address() {
    let folder = Folder::new();
    folder.write(
        "a.txt",
        b"# office\n10.0.0.0/8\n\n  192.0.2.7   # printer\r\n::ffff:192.0.2.8\n",
    );
    folder.write("lists/b.txt", b"\xef\xbb\xbf2001:db8::/32");
    let other = Folder::new();
    let far = other.write("c.txt", b"198.51.100.0/24\n");
    let loaded = folder
        .parse(&[
            (
                "allowlist",
                "['@a.txt', '@ lists/b.txt', 203.0.113.1, '::ffff:10.0.0.0/104', ' ::1 ']",
            ),
            ("denylist", &format!("['@{}']", far.display())),
            ("exempt", "['@a.txt']"),
        ])
        .unwrap();
    assert_eq!(loaded.warnings, []);
    let access = &loaded.config.listeners[0].access;
    let office = ["10.0.0.0/8", "192.0.2.7/32", "192.0.2.8/32"];
    let rest = ["2001:db8::/32", "203.0.113.1/32", "10.0.0.0/8", "::1/128"];
    assert_eq!(access.allow, nets(&[&office[..], &rest[..]].concat()));
    assert_eq!(access.deny, nets(&["198.51.100.0/24"]));
    assert_eq!(access.exempt, nets(&office));
}

#[test]
fn each_bad_line_of_a_list_is_told_with_its_file_and_line() {
    let folder = Folder::new();
    let path = folder.write(
        "a.txt",
        b"10.0.0.1\nhome\n# fine\n10.0.0.0/40 # too long\n@other\n\xff\xfe\n",
    );
    let errors = folder
        .parse(&[("allowlist", "['@a.txt']"), ("tcp", "{keepalive: 5}")])
        .unwrap_err();
    let told: Vec<(Option<usize>, &str)> = errors
        .problems
        .iter()
        .map(|problem| (problem.line, problem.message.as_str()))
        .collect();
    let expected = [
        (Some(2), "is a name, not an address"),
        (Some(4), "has a prefix length out of range"),
        (Some(5), "names another list, and lists cannot do that"),
        (Some(6), "is not an address or a prefix"),
        (Some(line_of("tcp")), "is a duration without a unit"),
    ];
    assert_eq!(told, expected);
    assert_eq!(errors.problems[0].file, path);
    assert_eq!(errors.problems[0].key, "listeners[0].allowlist[0]");
    assert_eq!(errors.problems[0].value.as_deref(), Some("home"));
}

#[test]
fn the_bad_lines_of_a_list_are_bounded() {
    let folder = Folder::new();
    folder.write("a.txt", "nobody\n".repeat(1000).as_bytes());
    let errors = folder.parse(&[("denylist", "['@a.txt']")]).unwrap_err();
    assert_eq!(errors.problems.len(), 21);
    let last = &errors.problems[20];
    assert_eq!(last.message, "has 980 more lines that are wrong");
    assert_eq!(
        (last.line, last.value.as_deref()),
        (Some(line_of("denylist")), Some("@a.txt"))
    );
}

#[test]
fn host_bits_in_a_list_are_one_warning() {
    let folder = Folder::new();
    let path = folder.write("a.txt", b"10.0.0.0/8\n10.1.2.3/16\n10.1.2.3/24\n");
    let loaded = folder.parse(&[("denylist", "['@a.txt']")]).unwrap();
    assert_eq!(
        loaded.config.listeners[0].access.deny,
        nets(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24"])
    );
    let [warning] = &loaded.warnings[..] else {
        panic!("{:#?}", loaded.warnings)
    };
    assert_eq!((&warning.file, warning.line), (&path, Some(2)));
    assert!(
        warning
            .message
            .contains("like 1 more in this list; it is used as 10.1.0.0/16"),
        "{warning}"
    );
}

#[test]
fn a_list_that_cannot_be_read_is_told_at_its_entry() {
    let folder = Folder::new();
    fs::create_dir(folder.0.path().join("sub")).unwrap();
    folder.write("huge", &vec![b'#'; (64 << 20) + 1]);
    let rows = [
        ("@missing", "No such file", "check the path"),
        ("@sub", "is not a regular file", "one address a line"),
        ("@/dev/zero", "is not a regular file", "one address a line"),
        ("@huge", "is larger than 64 MiB", "split the list"),
    ];
    for (entry, message, remedy) in rows {
        let errors = folder
            .parse(&[("exempt", &format!("['{entry}']"))])
            .unwrap_err();
        let [problem] = &errors.problems[..] else {
            panic!("{errors}")
        };
        assert_eq!(
            (problem.line, problem.value.as_deref()),
            (Some(line_of("exempt")), Some(entry))
        );
        assert!(problem.message.contains(message), "{problem}");
        assert!(
            problem.remedy.as_deref().unwrap().contains(remedy),
            "{problem}"
        );
    }
}

#[test]
fn an_allowlist_whose_file_is_empty_denies_everybody_with_a_warning() {
    let folder = Folder::new();
    folder.write("a.txt", b"# nobody yet\n");
    let loaded = folder.parse(&[("allowlist", "['@a.txt']")]).unwrap();
    assert!(
        loaded.warnings[0].message.contains("denies everybody"),
        "{}",
        loaded.warnings[0]
    );
}

#[test]
fn a_list_of_a_million_lines_is_read_whole() {
    let folder = Folder::new();
    let addresses = (0..1_000_000_u32).map(|n| std::net::Ipv4Addr::from(n).to_string());
    let lines = addresses.collect::<Vec<_>>().join("\n");
    folder.write("a.txt", lines.as_bytes());
    let loaded = folder.parse(&[("allowlist", "['@a.txt']")]).unwrap();
    assert_eq!(loaded.config.listeners[0].access.allow.len(), 1_000_000);
}
