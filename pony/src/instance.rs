//! From the name of an instance to that of its files and directories, and back.
//!
//! A path takes no slashes and a BPF file system no dots. Letters, digits, `-` and `_` stay as they
//! are, every other character is written as its bytes, `%2E` for a dot: readable, and no two
//! names have one directory.

use std::{ffi::OsStr, fmt::Write as _};

/// What is called after an instance.
pub(crate) fn to_file_name(name: &str) -> String {
    let mut file = String::with_capacity(name.len());
    for c in name.chars() {
        if stays(c) {
            file.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(file, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        }
    }
    file
}

/// After which instance this is called. `None` if after none.
pub(crate) fn from_file_name(file: &OsStr) -> Option<String> {
    let file = file.to_str()?;
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    let name = String::from_utf8(bytes).ok()?;
    (to_file_name(&name) == file).then_some(name)
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
            assert_eq!(to_file_name(name), directory);
            assert_eq!(from_file_name(directory.as_ref()).unwrap(), name);
        }
    }

    #[test]
    fn directories_of_others_have_no_name() {
        for directory in [
            "a~", "a%", "a%2", "a%2e", "a%zz", "a%+1", "a.b", "%FF", "%41", "a%é",
        ] {
            assert_eq!(from_file_name(directory.as_ref()), None, "{directory}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in ".*") {
            let directory = to_file_name(&name);
            prop_assert!(!directory.contains(['/', '.', '~', '\0']));
            prop_assert_eq!(from_file_name(directory.as_ref()), Some(name));
        }
    }
}
