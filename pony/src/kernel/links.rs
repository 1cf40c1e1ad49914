//! Keeps the guard on the interfaces that it belongs on, as these come, go and change their names.
//!
//! Owns the loaded programs and all that they are attached to. Every time it is told of changes it
//! compares what is with what should be; it does not matter how many notifications there were, or
//! whether all have arrived.
//!
//! What always holds: what is said, is said once; an interface that refuses the guard is tried
//! again; a guard that somebody took off stays off until its interface is new; nothing is attached
//! any more once it is closed or dropped.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aya::Ebpf;
use tracing::{info, warn};

use super::{
    attach::{self, Attached, Mode},
    error::{StartError, explain},
    interfaces::{self, Interface},
    object,
};
use crate::config::{self, AttachMode, GuardMode, Interfaces};

/// Where the guard is attached now, for whoever wants to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Where(Arc<Mutex<Vec<(String, Mode)>>>);

impl Where {
    pub(super) fn list(&self) -> Vec<(String, Mode)> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Mode)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The programs, and the interfaces that they are on.
pub(super) struct Links {
    ebpf: Ebpf,
    is_closed: bool,
    /// The kernel's number of `xdp_guard`.
    program: u32,
    wanted: Interfaces,
    wish: AttachMode,
    /// By the interface's number.
    held: HashMap<u32, Held>,
    /// By the interface's number.
    refused: HashMap<u32, Refusal>,
    /// Names for which there is no interface, as has been said.
    missing: HashSet<String>,
    shown: Where,
}

/// An interface that the guard is on.
struct Held {
    name: String,
    /// `None`: somebody has taken it off.
    attached: Option<Attached>,
}

/// An interface that cannot be had.
struct Refusal {
    reason: String,
    tried: Instant,
}

impl Links {
    pub(super) fn new(mut ebpf: Ebpf, config: &config::Guard) -> Result<Self, StartError> {
        let program = object::number(object::xdp_guard(&mut ebpf)?)?;
        Ok(Self {
            ebpf,
            is_closed: false,
            program,
            wanted: config.interfaces.clone(),
            wish: config.attach,
            held: HashMap::new(),
            refused: HashMap::new(),
            missing: HashSet::new(),
            shown: Where::default(),
        })
    }

    /// Attaches for the first time. In [`GuardMode::Require`] everything wanted must be had.
    pub(super) fn begin(
        &mut self,
        present: &[Interface],
        mode: GuardMode,
    ) -> Result<(), StartError> {
        if mode == GuardMode::Require {
            self.require(present)?;
            self.show();
            return Ok(());
        }
        self.follow(&HashSet::new(), present);
        if self.held.is_empty() {
            warn!(
                "Kernel guard is on no interface yet: the proxy works without it until there is one"
            );
        }
        Ok(())
    }

    fn require(&mut self, present: &[Interface]) -> Result<(), StartError> {
        let wanted = match &self.wanted {
            Interfaces::Auto => interfaces::facing_clients(present).collect(),
            Interfaces::Names(names) => names
                .iter()
                .map(|name| interfaces::named(name, present))
                .collect::<Result<Vec<_>, _>>()?,
        };
        if wanted.is_empty() {
            return Err(StartError::NoInterface);
        }
        for interface in wanted {
            let attached = self.attach(interface)?;
            if let Some(reason) = attached.no_egress.clone() {
                return Err(StartError::Egress {
                    interface: interface.name.clone(),
                    reason,
                });
            }
            self.hold(interface, attached);
        }
        Ok(())
    }

    /// Brings what is attached in line with the interfaces that are `present`; those whose numbers
    /// are in `gone` are others than before.
    pub(super) fn follow(&mut self, gone: &HashSet<u32>, present: &[Interface]) {
        if self.is_closed {
            return;
        }
        self.let_go(gone, present);
        for interface in self.wanted_of(present) {
            if !self.held.contains_key(&interface.index) && self.is_due(interface.index) {
                self.try_attach(interface);
            }
        }
        self.show();
    }

    /// Whether an interface is to be tried again, without its having changed.
    pub(super) fn is_waiting(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Where the guard is attached, kept up to date.
    pub(super) fn shown(&self) -> Where {
        self.shown.clone()
    }

    /// Detaches everywhere, for good.
    pub(super) fn close(&mut self) {
        self.held.clear();
        self.is_closed = true;
        self.show();
    }

    /// Detaches from what is gone or not wanted any more, and learns new names.
    ///
    /// An interface that is down keeps the guard: nothing arrives there, and many drivers restart
    /// their queues when a program comes or goes.
    fn let_go(&mut self, gone: &HashSet<u32>, present: &[Interface]) {
        let present: HashMap<u32, &Interface> = present
            .iter()
            .map(|interface| (interface.index, interface))
            .collect();
        let Self {
            wanted,
            program,
            missing,
            ..
        } = self;
        self.held.retain(|index, held| {
            let is_new = gone.contains(index);
            let interface = present.get(index).filter(|_| !is_new);
            let Some(interface) = interface else {
                info!(interface = held.name, "Kernel guard: the interface is gone");
                missing.insert(held.name.clone());
                return false;
            };
            held.update(interface, *program);
            let keeps = match wanted {
                Interfaces::Auto => true,
                Interfaces::Names(names) => names.contains(&interface.name),
            };
            if !keeps {
                info!(
                    interface = held.name,
                    "Kernel guard detached: guard.interfaces has no interface of this name"
                );
            }
            keeps
        });
        self.refused
            .retain(|index, _| present.contains_key(index) && !gone.contains(index));
    }

    /// The interfaces that should have the guard; says of names that they are not there.
    fn wanted_of<'a>(&mut self, present: &'a [Interface]) -> Vec<&'a Interface> {
        let names = match &self.wanted {
            Interfaces::Auto => {
                self.missing.clear();
                return interfaces::facing_clients(present).collect();
            }
            Interfaces::Names(names) => names,
        };
        let mut found = Vec::new();
        for name in names {
            match interfaces::named(name, present) {
                Ok(interface) => {
                    self.missing.remove(name);
                    found.push(interface);
                }
                Err(error) if self.missing.insert(name.clone()) => go_on_without(&error),
                Err(_said_before) => {}
            }
        }
        found
    }

    /// A refusal can bring about notifications of its own, which must not lead to the next at once.
    fn is_due(&self, index: u32) -> bool {
        let refusal = self.refused.get(&index);
        refusal.is_none_or(|refusal| refusal.tried.elapsed() >= PAUSE)
    }

    fn try_attach(&mut self, interface: &Interface) {
        let error = match self.attach(interface) {
            Ok(attached) => {
                if let Some(reason) = &attached.no_egress {
                    let name = &interface.name;
                    warn!(
                        interface = name,
                        reason, "Kernel guard does not count what leaves through this interface"
                    );
                }
                return self.hold(interface, attached);
            }
            Err(error) => error,
        };
        let refusal = Refusal {
            reason: explain(&error),
            tried: Instant::now(),
        };
        let before = self.refused.insert(interface.index, refusal);
        let now = self.refused.get(&interface.index);
        if before.map(|refusal| refusal.reason).as_ref() != now.map(|refusal| &refusal.reason) {
            go_on_without(&error);
        }
    }

    fn attach(&mut self, interface: &Interface) -> Result<Attached, StartError> {
        attach::attach(&mut self.ebpf, interface, self.wish)
    }

    fn hold(&mut self, interface: &Interface, attached: Attached) {
        let mode = attached.mode.as_str();
        match &attached.not_native {
            None => info!(interface = interface.name, mode, "Kernel guard attached"),
            Some(reason) => info!(
                interface = interface.name,
                mode,
                not_native = reason,
                "Kernel guard attached"
            ),
        }
        self.refused.remove(&interface.index);
        let held = Held {
            name: interface.name.clone(),
            attached: Some(attached),
        };
        self.held.insert(interface.index, held);
    }

    fn show(&self) {
        let mut list: Vec<_> = self.held.values().filter_map(Held::show).collect();
        list.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        *self.shown.lock() = list;
    }
}

impl Held {
    /// Takes over what has changed of the interface.
    fn update(&mut self, interface: &Interface, program: u32) {
        if self.name != interface.name {
            let (was, is) = (&self.name, &interface.name);
            info!(
                interface = is,
                was, "Kernel guard: the interface has a new name"
            );
            self.name.clone_from(&interface.name);
        }
        if self.attached.is_some() && !interface.programs.contains(&program) {
            warn!(
                interface = self.name,
                "Kernel guard was taken off this interface by somebody else: it stays off until \
                 the interface is made anew or pony is started again"
            );
            self.attached = None;
        }
    }

    fn show(&self) -> Option<(String, Mode)> {
        let mode = self.attached.as_ref()?.mode;
        Some((self.name.clone(), mode))
    }
}

fn go_on_without(error: &StartError) {
    let reason = explain(error);
    warn!(reason, "Kernel guard goes on without this interface");
}

/// How long an interface that refused the guard is left alone at least.
const PAUSE: Duration = Duration::from_millis(500);
