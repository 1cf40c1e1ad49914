//! What the accept and receive loops of one listener share.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config,
    observe::Recorder,
    policy::{Permit, Policy},
    relay::{Memory, Switchboard, Whims},
    sys,
    target::Resolver,
};

/// How the whole daemon is told to end, and how it knows that it has.
#[derive(Clone, Default)]
pub struct Gates {
    /// Cancelled: no new clients.
    pub stop: CancellationToken,
    /// Cancelled: whatever is still open is cut.
    pub cut: CancellationToken,
    /// Every flow, session and loop.
    pub tasks: TaskTracker,
}

/// One listener at work.
pub struct Service {
    /// What the configuration says.
    pub config: config::Listener,
    /// Who may use it, and how much.
    pub policy: Arc<Policy>,
    /// Its metrics and log.
    pub recorder: Arc<Recorder>,
    /// The kernel's lane for TCP flows, once there is one.
    pub board: Arc<OnceLock<Arc<Switchboard>>>,
    /// For tests.
    pub whims: Option<Arc<Whims>>,
    /// What all TCP flows may pin together.
    pub memory: Arc<Memory>,
    /// The targets' names.
    pub resolver: Arc<Resolver>,
    /// Stopping.
    pub gates: Gates,
}

impl Service {
    /// Asks the policy about a client that wants a connection or session, and reports what it said.
    pub(super) fn admit(&self, client: IpAddr) -> Option<Permit> {
        match self.policy.admit(client, sys::now()) {
            Ok(permit) => {
                if let Some(reason) = permit.violation() {
                    self.recorder.violated(client, reason);
                }
                Some(permit)
            }
            Err(reason) => {
                self.recorder.refused(client, reason);
                None
            }
        }
    }
}

/// The address as everything else in the daemon knows it: IPv4 clients of a dual-stack socket are
/// IPv4 clients.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
