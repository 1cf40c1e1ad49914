//! Debian's packages: what is offered, and installing it without questions.
//!
//! Nothing is installed that is there already, no package that is merely recommended, and no
//! service is started or enabled.

use std::{
    cell::Cell, fs, os::unix::fs::MetadataExt as _, path::Path, process::Command, time::Duration,
};

use anyhow::{Result, bail};

use crate::{step, workspace::Workspace};

/// The package manager, and whether we may use it.
pub(crate) struct Apt {
    access: Access,
    updated: Cell<bool>,
}

/// Whether packages can be installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    /// There is no apt.
    Absent,
    /// There is, but neither are we root nor does sudo work without asking.
    Forbidden,
    Sudo,
    Root,
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

impl Apt {
    /// Looks for apt and for the right to use it.
    pub(crate) fn find() -> Self {
        let access = if !Path::new("/usr/bin/apt-get").exists() {
            Access::Absent
        } else if is_root() {
            Access::Root
        } else if step::output(Command::new("sudo").args(["-n", "true"])).is_some() {
            Access::Sudo
        } else {
            Access::Forbidden
        };
        Self {
            access,
            updated: Cell::new(false),
        }
    }

    /// Whether this machine has apt at all.
    pub(crate) fn exists(&self) -> bool {
        self.access != Access::Absent
    }

    /// Whether [`Self::install`] can work.
    pub(crate) fn may_install(&self) -> bool {
        matches!(self.access, Access::Root | Access::Sudo)
    }

    /// Whether all these packages can be had; reads the lists anew if they do not know them.
    pub(crate) fn offers(&self, packages: &[&str]) -> bool {
        self.exists() && (known(packages) || self.update() && known(packages))
    }

    /// Installs the packages.
    pub(crate) fn install(
        &self,
        workspace: &Workspace,
        what: &str,
        packages: &[&str],
    ) -> Result<()> {
        if !self.may_install() {
            bail!(
                "not root, and sudo would ask; type: {}",
                Self::to_type(packages)
            );
        }
        if !self.offers(packages) {
            bail!("this release does not have all of: {}", packages.join(" "));
        }
        let services = Services::hold(self, packages);
        let what = format!("{what} ({})", packages.join(" "));
        let arguments = [&INSTALL[..], packages].concat();
        let run = || step::quiet(workspace, &what, &mut self.apt_get(&arguments), LIMIT);
        let result = run().or_else(|error| {
            // Old lists name packages that are gone.
            if self.update() { run() } else { Err(error) }
        });
        services.release(self);
        result
    }

    /// What a person types to install the packages.
    pub(crate) fn to_type(packages: &[&str]) -> String {
        let sudo = if is_root() { "" } else { "sudo " };
        let packages = packages.join(" ");
        format!("{sudo}apt-get install --no-install-recommends {packages}")
    }

    /// Reads the package lists, once; whether they were read just now.
    fn update(&self) -> bool {
        if !self.may_install() || self.updated.replace(true) {
            return false;
        }
        step::say("reading Debian's package lists");
        step::output(&mut self.apt_get(&["-qq", "update"])).is_some()
    }

    fn apt_get(&self, arguments: &[&str]) -> Command {
        let mut command = self.as_root("env");
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(arguments);
        command
    }

    fn as_root(&self, program: &str) -> Command {
        if self.access == Access::Sudo {
            let mut command = Command::new("sudo");
            command.args(["-n", program]);
            command
        } else {
            Command::new(program)
        }
    }
}

/// Services that would start with their package, kept from it.
///
/// Only where systemd runs; elsewhere nothing starts by itself.
struct Services(Vec<&'static str>);

impl Services {
    fn hold(apt: &Apt, packages: &[&str]) -> Self {
        if !Path::new("/run/systemd/system").exists() {
            return Self(Vec::new());
        }
        let held = services_of(packages)
            .filter(|unit| step::output(Command::new("systemctl").args(["cat", unit])).is_none())
            .filter(|unit| systemctl(apt, &["mask", unit]))
            .collect();
        Self(held)
    }

    fn release(self, apt: &Apt) {
        for unit in self.0 {
            if !(systemctl(apt, &["unmask", unit]) && systemctl(apt, &["disable", unit])) {
                step::warn(format_args!("{unit} may start at the next boot"));
            }
        }
    }
}

/// The services that these packages bring.
fn services_of(packages: &[&str]) -> impl Iterator<Item = &'static str> {
    [
        ("nginx-light", "nginx.service"),
        ("haproxy", "haproxy.service"),
        ("iperf3", "iperf3.service"),
    ]
    .into_iter()
    .filter(|(package, _)| packages.contains(package))
    .map(|(_, unit)| unit)
}

fn systemctl(apt: &Apt, arguments: &[&str]) -> bool {
    step::output(apt.as_root("systemctl").arg("--quiet").args(arguments)).is_some()
}

/// Whether the package lists know all these packages.
fn known(packages: &[&str]) -> bool {
    let policy = step::output(
        Command::new("apt-cache")
            .arg("policy")
            .args(packages)
            .env("LC_ALL", "C"),
    );
    policy.is_some_and(|text| candidates(&text) == packages.len())
}

/// Counts the packages with a candidate in the output of `apt-cache policy`.
fn candidates(policy: &str) -> usize {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .filter(|candidate| *candidate != "(none)")
        .count()
}

const INSTALL: [&str; 5] = [
    "install",
    "--yes",
    "--no-install-recommends",
    // Another apt may be at work.
    "-oDPkg::Lock::Timeout=120",
    "-oDpkg::Use-Pty=0",
];
const LIMIT: Duration = Duration::from_mins(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_without_a_candidate_do_not_count() {
        let policy = "curl:\n  Installed: (none)\n  Candidate: 7.88.1-10\n  Version table:\n\
                      gone:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), 1);
        assert_eq!(candidates(""), 0);
    }

    #[test]
    fn nginx_and_iperf3_are_known_to_bring_services() {
        let units: Vec<_> = services_of(&["curl", "nginx-light"]).collect();
        assert_eq!(units, ["nginx.service"]);
    }

    #[test]
    fn without_rights_the_command_to_type_is_the_error() {
        let apt = Apt {
            access: Access::Forbidden,
            updated: Cell::new(false),
        };
        let error = apt
            .install(&Workspace::find().unwrap(), "x", &["curl"])
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("apt-get install --no-install-recommends curl"),
            "{text}"
        );
    }
}
