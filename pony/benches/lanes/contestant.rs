//! Who forwards: nobody, HAProxy, nginx, or a build of PacketPony with one of its lanes.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    configs,
    conversation::exchange_once,
    place::{Ends, Place},
    process::Process,
    setting::Setting,
};

pub(crate) struct Contestant {
    pub(crate) name: String,
    kind: Kind,
    /// Where clients go.
    pub(crate) ends: Ends,
    process: Option<Process>,
    /// Why it is not running.
    pub(crate) failure: Option<String>,
    folder: TempDir,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Clients go to the target.
    Nobody,
    HaProxy,
    Nginx,
    Pony(Variant),
}

/// A build and what it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Variant {
    pub(crate) build: Build,
    /// `tcp.lane`; `None` for a build that does not know it.
    pub(crate) lane: Option<String>,
    listens: Listens,
}

/// Where a listener is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Listens {
    Port,
    /// At a range of ports, of which clients use the first.
    Range,
}

/// An executable, and what it is called here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Build {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Kind {
    /// Everybody: nobody and HAProxy first, with whom the others are compared.
    pub(crate) fn all(builds: &[Build], lanes: &[String]) -> Vec<Self> {
        let mut kinds = vec![Self::Nobody, Self::HaProxy, Self::Nginx];
        for build in builds {
            let plain = Variant::plain(build);
            let wanted = lanes.iter().map(|lane| Variant {
                lane: Some(lane.clone()),
                ..plain.clone()
            });
            let known: Vec<_> = wanted.filter(Variant::is_known).map(Self::Pony).collect();
            if known.is_empty() {
                kinds.push(Self::Pony(plain));
            }
            kinds.extend(known);
        }
        kinds
    }

    /// What a range costs a build, beside one port.
    pub(crate) fn for_ports(builds: &[Build]) -> Vec<Self> {
        let mut kinds = vec![Self::Nobody];
        for build in builds {
            let port = Variant::plain(build);
            let range = Variant {
                listens: Listens::Range,
                ..port.clone()
            };
            kinds.extend([port, range].map(Self::Pony));
        }
        kinds
    }

    fn name(&self) -> String {
        match self {
            Self::Nobody => "no proxy".to_owned(),
            Self::HaProxy => HAPROXY.to_owned(),
            Self::Nginx => "nginx".to_owned(),
            Self::Pony(Variant {
                build,
                lane,
                listens,
            }) => match (lane, listens) {
                (Some(lane), _) => format!("{} {lane}", build.name),
                (None, Listens::Port) => build.name.clone(),
                (None, Listens::Range) => format!("{}, a range", build.name),
            },
        }
    }

    /// Whether the aims are for this one: the build at hand, as it decides by itself.
    fn is_judged(&self) -> bool {
        let Self::Pony(Variant {
            build,
            lane,
            listens: Listens::Port,
        }) = self
        else {
            return false;
        };
        build.name == OWN_BUILD && lane.as_ref().is_none_or(|lane| lane == "auto")
    }

    fn config(&self, fronts: Ends, targets: Ends) -> String {
        match self {
            Self::Nobody => String::new(),
            Self::HaProxy => configs::haproxy(fronts, targets),
            Self::Nginx => configs::nginx(fronts, targets),
            Self::Pony(Variant { lane, listens, .. }) => {
                configs::pony(fronts, targets, lane.as_deref(), *listens)
            }
        }
    }
}

impl Variant {
    fn plain(build: &Build) -> Self {
        Self {
            build: build.clone(),
            lane: None,
            listens: Listens::Port,
        }
    }

    /// Whether this build accepts the lane in its configuration.
    fn is_known(&self) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let [front, target] =
            [1, 11].map(|port| Ends::new(Ipv4Addr::LOCALHOST, port, Setting::Direct));
        fs::write(
            &file,
            configs::pony(front, target, self.lane.as_deref(), self.listens),
        )
        .unwrap();
        let mut check = Command::new(&self.build.path);
        check.args(["check", "--offline", "-c"]).arg(file);
        check.stdout(Stdio::null()).stderr(Stdio::null());
        let is_known = check.status().is_ok_and(|status| status.success());
        if !is_known {
            let (build, lane) = (&self.build.name, self.lane.as_deref().unwrap_or_default());
            eprintln!("{build} does not know tcp.lane: {lane}");
        }
        is_known
    }
}

impl Contestant {
    /// Everybody at this place, running if asked for. Whoever does not start has a failure.
    pub(crate) fn start_all(
        kinds: &[Kind],
        (place, setting): (&Place, Setting),
        start: bool,
    ) -> Vec<Self> {
        let number = |(number, kind)| Self::new(kind, number, (place, setting));
        let mut all: Vec<_> = kinds.iter().enumerate().map(number).collect();
        for contestant in all.iter_mut().filter(|_| start) {
            let failed = contestant.start(place).err();
            contestant.failure = failed.map(|error| error.to_string());
        }
        all
    }

    /// At this place, but not running yet. Each has a number of its own, for its ports.
    pub(crate) fn new(kind: &Kind, number: usize, (place, setting): (&Place, Setting)) -> Self {
        let targets = place.targets();
        let number = u16::try_from(number).unwrap();
        let fronts = place.fronts(number, setting);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CONFIG), kind.config(fronts, targets)).unwrap();
        Self {
            name: kind.name(),
            kind: kind.clone(),
            ends: if *kind == Kind::Nobody {
                targets
            } else {
                fronts
            },
            process: None,
            failure: None,
            folder,
        }
    }

    /// The numbers of its processes.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.process.as_ref().map(Process::ids).unwrap_or_default()
    }

    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it, if it is not running, and waits until it serves.
    pub(crate) fn start(&mut self, place: &Place) -> io::Result<()> {
        if self.kind == Kind::Nobody || self.process.is_some() {
            return Ok(());
        }
        let folder = self.folder.path().to_owned();
        let [config, log] = [CONFIG, "log"].map(|name| folder.join(name).display().to_string());
        let here = folder.display().to_string();
        let words = match &self.kind {
            Kind::Nobody => vec![],
            Kind::HaProxy => vec!["haproxy", "-db", "-f", &config],
            Kind::Nginx => vec!["nginx", "-p", &here, "-e", "stderr", "-c", &config],
            Kind::Pony(Variant { build, .. }) => {
                vec![build.path.to_str().unwrap(), "run", "-c", &config]
            }
        };
        let mut process = Process::start(&place.proxy, &words, Path::new(&log))?;
        let ends = self.ends;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = place.client.enter(|| exchange_once(ends)) {
            if !process.is_running()? || Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                let text = format!("does not serve: {error}\n{log}");
                return Err(io::Error::other(text));
            }
            thread::sleep(Duration::from_millis(10));
        }
        process.find_children()?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) fn is_judged(&self) -> bool {
        self.kind.is_judged()
    }
}

/// What the build at hand is called.
pub(crate) const OWN_BUILD: &str = "pony";
pub(crate) const HAPROXY: &str = "HAProxy";
const CONFIG: &str = "config.yaml";
const PATIENCE: Duration = Duration::from_secs(10);
