//! A client in a network namespace of its own, connected to that of the test.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
};

use crate::namespace::Namespace;

/// The addresses of the client's interface `c0`.
pub(crate) const CLIENT: [IpAddr; 2] = addresses(2);
/// The addresses of the proxy's interface `p0`.
pub(crate) const PROXY: [IpAddr; 2] = addresses(1);

const fn addresses(number: u8) -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, number)),
        IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number as u16)),
    ]
}

/// A namespace on a thread of its own, connected to the proxy's.
pub(crate) struct Client {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Client {
    /// Joins `c0` here to `p0` there, each with the addresses of [`CLIENT`] or [`PROXY`].
    pub(crate) fn connect_to(proxy: &Namespace) -> Self {
        let (fds, fd) = mpsc::channel::<OwnedFd>();
        let (jobs, to_do) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        thread::spawn(move || {
            let namespace = Namespace::new();
            fds.send(namespace.fd()).unwrap();
            // The interface is there once the first job is.
            let Ok(()) = to_do.recv().map(|first| first()) else {
                return;
            };
            configure(&namespace, "c0", CLIENT);
            ready.send(()).unwrap();
            for job in to_do {
                job();
            }
        });
        proxy.add_pair("p0", "c0");
        proxy.give("c0", &fd.recv().unwrap());
        configure(proxy, "p0", PROXY);
        jobs.send(Box::new(|| ())).unwrap();
        is_ready.recv().unwrap();
        Self { jobs }
    }

    /// Runs something in the client's namespace.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Running<T> {
        let (done, result) = mpsc::channel();
        let job = move || {
            let _gone = done.send(work());
        };
        self.jobs.send(Box::new(job)).unwrap();
        Running(result)
    }
}

/// Something that runs in the client's namespace.
pub(crate) struct Running<T>(mpsc::Receiver<T>);

impl<T> Running<T> {
    pub(crate) fn join(self) -> Result<T, mpsc::RecvError> {
        self.0.recv()
    }
}

fn configure(namespace: &Namespace, interface: &str, addresses: [IpAddr; 2]) {
    for (address, prefix) in addresses.into_iter().zip([24, 64]) {
        namespace.add_address(interface, address, prefix);
    }
    namespace.set_up(interface);
}
