//! From the name of an instance to that of a directory, and back.
//!
//! A path takes no slashes and a BPF file system no dots. Letters, digits, `-` and `_` stay as they
//! are, every other character is written as its bytes, `%2E` for a dot: readable, and no two
//! names have one directory.

use std::{ffi::OsStr, fmt::Write as _};

/// The end of the name of a directory that is being filled; no instance's name has it.
pub(super) const UNFINISHED: &str = "~";

/// The directory of an instance.
pub(super) fn to_directory(name: &str) -> String {
    let mut directory = String::with_capacity(name.len());
    for c in name.chars() {
        if stays(c) {
            directory.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(directory, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        }
    }
    directory
}

/// The instance of a directory. `None` if it belongs to none.
pub(super) fn from_directory(directory: &OsStr) -> Option<String> {
    let directory = directory.to_str()?;
    let mut bytes = Vec::with_capacity(directory.len());
    let mut rest = directory;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    let name = String::from_utf8(bytes).ok()?;
    (to_directory(&name) == directory).then_some(name)
}

fn stays(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_directory_may_not_be_called_is_written_as_bytes() {
        let rows = [
            ("packetpony-01", "packetpony-01"),
            ("Läufer_7", "Läufer_7"),
            ("pony.example/eu west", "pony%2Eexample%2Feu%20west"),
            ("..", "%2E%2E"),
            ("100%", "100%25"),
            ("a~", "a%7E"),
            ("\u{2192}", "%E2%86%92"),
        ];
        for (name, directory) in rows {
            assert_eq!(to_directory(name), directory);
            assert_eq!(from_directory(directory.as_ref()).unwrap(), name);
        }
    }

    #[test]
    fn directories_of_others_have_no_name() {
        for directory in [
            "a~", "a%", "a%2", "a%2e", "a%zz", "a%+1", "a.b", "%FF", "%41", "a%é",
        ] {
            assert_eq!(from_directory(directory.as_ref()), None, "{directory}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in ".*") {
            let directory = to_directory(&name);
            prop_assert!(!directory.contains(['/', '.', '~', '\0']));
            prop_assert_eq!(from_directory(directory.as_ref()), Some(name));
        }
    }
}
