//! A guard as the daemon starts it, with programs that are asked for verdicts one by one.

use std::{net::SocketAddr, process};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use pony::{
    config::{self, GuardMode},
    kernel::{self, Guard, GuardListener},
};
use pony_common::names;

use crate::{attach::with_pair, namespace::Namespace, object};

/// See the module.
pub(crate) struct Real {
    pub(crate) guard: Guard,
    pub(crate) program: Xdp,
    _namespace: Namespace,
}

impl Real {
    /// Starts one; `name` is that of the test.
    pub(crate) fn start(name: &str, listener: GuardListener<'_>) -> Self {
        Self::start_beside(name, listener, &[])
    }

    /// The same beside sockets that it has to leave alone.
    pub(crate) fn start_beside(
        name: &str,
        listener: GuardListener<'_>,
        others: &[SocketAddr],
    ) -> Self {
        object();
        let namespace = with_pair();
        let name = format!("{name}-{}", process::id());
        let config = config::Guard {
            mode: GuardMode::Require,
            instance: Some(name.clone()),
            ..config::Guard::default()
        };
        let guard = namespace.run(kernel::start(&config, &[listener], others));
        let program = format!("/sys/fs/bpf/packetpony/{name}/{}", names::XDP_GUARD);
        Self {
            guard: guard.unwrap().unwrap(),
            program: Xdp::from_pin(program, XdpAttachType::Interface).unwrap(),
            _namespace: namespace,
        }
    }

    /// What becomes of a frame.
    pub(crate) fn verdict(&self, frame: &[u8]) -> u32 {
        self.repeat(frame, 1).0
    }

    /// What becomes of a frame, and what each of so many takes, in nanoseconds.
    pub(crate) fn repeat(&self, frame: &[u8], times: u32) -> (u32, u128) {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: times,
            ..TestRunOptions::default()
        };
        let result = self.program.test_run(options).unwrap();
        (result.return_value, result.duration.as_nanos())
    }
}
