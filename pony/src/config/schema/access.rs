//! Who may use a listener: `allowlist`, `denylist`, `exempt`.

use std::path::Path;

use ipnet::IpNet;

use crate::config::list_file;
use crate::config::model::Access;
use crate::config::prefix;
use crate::config::problem::{Complaint, Finding};
use crate::config::reader::{Entry, Section};

const NOBODY_REMEDY: &str =
    "list the clients that may use it; \"0.0.0.0/0\" and \"::/0\" together are everybody";

pub(super) fn check(listener: &Section<'_>) -> Access {
    let allow = nets(listener, "allowlist");
    match (listener.get("allowlist"), &allow) {
        (None, _) => {
            let message = "has no allowlist, which denies everybody";
            listener.warn(Complaint::new(message, NOBODY_REMEDY));
        }
        (Some(entry), Some(allow)) if allow.is_empty() => {
            entry.warn(Complaint::new(
                "is empty, which denies everybody",
                NOBODY_REMEDY,
            ));
        }
        (Some(_), _) => {}
    }
    Access {
        allow: allow.unwrap_or_default(),
        deny: nets(listener, "denylist").unwrap_or_default(),
        exempt: nets(listener, "exempt").unwrap_or_default(),
    }
}

/// The prefixes in the list at `key`, with those in files that it names.
pub(super) fn nets(listener: &Section<'_>, key: &'static str) -> Option<Vec<IpNet>> {
    let mut nets = Vec::new();
    for entry in listener.get(key)?.list()? {
        let Some(text) = entry.text() else {
            continue;
        };
        match text.trim().strip_prefix('@') {
            Some(file) => read_list(&entry, file.trim(), &mut nets),
            None => nets.extend(prefix_of(&entry, text)),
        }
    }
    Some(nets)
}

fn prefix_of(entry: &Entry<'_>, text: &str) -> Option<IpNet> {
    let prefix = entry.accept(prefix::parse(text))?;
    if prefix.was_masked {
        entry.warn(Complaint::new(
            format!("has bits behind its prefix; it is used as {}", prefix.net),
            format!("write \"{}\", or the address without a length", prefix.net),
        ));
    }
    Some(prefix.net)
}

/// Reads the list `file`, which a relative path seeks beside the configuration.
fn read_list(entry: &Entry<'_>, file: &str, nets: &mut Vec<IpNet>) {
    if file.is_empty() || file.contains('\0') {
        entry.error(Complaint::new(
            "names no file",
            "write the path behind the @: \"@blocked.txt\"",
        ));
        return;
    }
    let folder = entry.context.file.parent().unwrap_or(Path::new(""));
    let path = folder.join(file);
    let list = match list_file::read(&path, &entry.path) {
        Ok(list) => list,
        Err(Complaint { message, remedy }) => {
            entry.error(Complaint::new(
                format!("({}) {message}", path.display()),
                remedy,
            ));
            return;
        }
    };
    nets.extend(list.nets);
    for problem in list.errors {
        entry.context.errors.add(Finding {
            problem,
            at: entry.node.id,
            see: None,
        });
    }
    if list.omitted > 0 {
        let message = format!("has {} more lines that are wrong", list.omitted);
        entry.error(Complaint::new(message, "mend the first ones and try again"));
    }
    if let Some(problem) = list.warning {
        entry.context.warnings.add(Finding {
            problem,
            at: entry.node.id,
            see: None,
        });
    }
}
