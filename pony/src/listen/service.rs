//! What the accept and receive loops of one listener share.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::front_end::{FrontEnds, Introduction};
use crate::{
    config::{self, HostPort},
    observe::Recorder,
    policy::{Permit, Policy},
    relay::{Memory, Switchboard, Whims},
    sys,
    target::{Claims, Resolver, Targets, UniqueIds},
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
    /// Where its clients are forwarded to.
    pub targets: Targets,
    /// Which clients' ports are in use towards targets.
    pub claims: Arc<Claims>,
    /// The targets' names.
    pub resolver: Arc<Resolver>,
    /// Who may say for whom it connects, if anybody.
    pub front_ends: Option<FrontEnds>,
    /// Names for connections.
    pub ids: Arc<UniqueIds>,
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

impl Service {
    /// Where to connect for a client: where its header says if that counts, else where the
    /// configuration says.
    pub(super) fn target(&self, introduction: &Introduction) -> Arc<HostPort> {
        match introduction.named_target(self.front_ends.as_ref()) {
            Some(named) => Arc::new(named),
            None => self.targets.choose(introduction.origin),
        }
    }

    /// Gives a name of ours where the target is to be told one and there is none.
    pub(super) fn name(&self, introduction: &mut Introduction) {
        let send = self.config.proxy_protocol.send.as_ref();
        if send.is_some_and(|send| send.fields.unique_id) {
            let id = &mut introduction.fields.unique_id;
            id.get_or_insert_with(|| self.ids.make());
        }
    }
}

/// The address as everything else in the daemon knows it: IPv4 clients of a dual-stack socket are
/// IPv4 clients.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
