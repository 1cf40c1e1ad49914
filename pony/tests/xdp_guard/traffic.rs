//! Real connections and datagrams from one namespace to another, counted to the byte.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::mpsc,
    thread,
    time::Duration,
};

use pony::{
    config::{self, GuardMode, Interfaces, Protocol},
    kernel::{self, ClientTraffic, Guard, GuardListener, Mode},
};
use prometheus::{
    core::Collector,
    proto::{Metric, MetricFamily},
};
use socket2::SockRef;

use crate::{is_root, namespace::Namespace, object};

#[test]
fn counts_exactly_what_tcp_clients_send() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let client = Client::connect_to(&namespace);
    let v4 = TcpListener::bind("10.77.0.1:0").unwrap();
    let v6 = TcpListener::bind("[::]:0").unwrap();
    let listeners = [
        listener("exact", Protocol::Tcp, v4.local_addr().unwrap()),
        listener("wildcard", Protocol::Tcp, v6.local_addr().unwrap()),
    ];
    let guard = start(&namespace, &listeners);
    let metrics = guard.collector().unwrap();
    assert_eq!(
        bytes(&metrics.collect(), "exact"),
        0,
        "there from the start"
    );

    let wildcard_port = v6.local_addr().unwrap().port();
    let targets = vec![
        (v4.local_addr().unwrap(), 4_000_000),
        (
            SocketAddr::new("10.77.0.1".parse().unwrap(), wildcard_port),
            70_000,
        ),
        (
            SocketAddr::new("fd77::1".parse().unwrap(), wildcard_port),
            3_000_001,
        ),
    ];
    let sending = client.run(move || send_all(targets));
    for socket in [&v4, &v6, &v6] {
        take_all(socket);
    }
    let again = sending.join().unwrap();

    let families = metrics.collect();
    for (name, sent) in [("exact", 4_000_000), ("wildcard", 3_070_001)] {
        let counted = bytes(&families, name);
        // What had to be sent twice was seen twice.
        assert!(
            counted == sent || again > 0 && counted > sent,
            "{name}: {counted}, {again} again"
        );
    }
    let exact = by_client(&guard, "exact");
    assert_eq!(exact.len(), 1, "{exact:?}");
    assert_eq!(exact[0].client, "10.77.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(exact[0].bytes, bytes(&families, "exact"));
    let wildcard = by_client(&guard, "wildcard").into_iter();
    let mut clients: Vec<_> = wildcard.map(|client| client.client.to_string()).collect();
    clients.sort_unstable();
    assert_eq!(clients, ["10.77.0.2", "fd77::"], "IPv6 by its prefix");
}

#[test]
fn counts_exactly_what_udp_clients_send() {
    if !is_root() {
        return;
    }
    let namespace = Namespace::new();
    let client = Client::connect_to(&namespace);
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let guard = start(
        &namespace,
        &[listener("dns", Protocol::Udp, socket.local_addr().unwrap())],
    );
    let metrics = guard.collector().unwrap();

    let sizes = [0, 1, 17, 18, 512, 1_200, 1_452];
    let sending = client.run(move || {
        for (from, to) in [("10.77.0.2:0", "10.77.0.1"), ("[fd77::2]:0", "fd77::1")] {
            let socket = UdpSocket::bind(from).unwrap();
            socket.connect((to, port)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            for size in sizes {
                socket.send(&vec![7; size]).unwrap();
                let answer = socket.recv(&mut [0; 2_000]).unwrap();
                assert_eq!(answer, size);
            }
        }
    });
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 2_000];
    for _ in 0..2 * sizes.len() {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        socket.send_to(&buffer[..len], from).unwrap();
    }
    sending.join().unwrap();

    let families = metrics.collect();
    let sent: u64 = sizes.iter().map(|size| *size as u64).sum();
    assert_eq!(bytes(&families, "dns"), 2 * sent);
    assert_eq!(packets(&families, "dns"), 2 * sizes.len() as u64);
    for client in by_client(&guard, "dns") {
        assert_eq!(
            (client.packets, client.bytes),
            (sizes.len() as u64, sent),
            "{client:?}"
        );
    }
    assert!(
        value(
            &families,
            "packetpony_guard_other_packets_total",
            &["not_ip"]
        ) > 0.0,
        "ARP"
    );
    assert!(value(&families, "packetpony_guard_attached", &["p0", "native"]) > 0.0);
}

/// Sends this many bytes to each target, and returns how many segments had to be sent again.
fn send_all(targets: Vec<(SocketAddr, usize)>) -> u64 {
    for (target, len) in targets {
        let mut stream = TcpStream::connect(target).unwrap();
        stream.write_all(&vec![7; len]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // The answer comes when all has arrived.
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    retransmissions()
}

/// Takes all that the next client sends, and then answers.
fn take_all(socket: &TcpListener) {
    // Also limits how long `accept` waits.
    SockRef::from(socket)
        .set_read_timeout(Some(PATIENCE))
        .unwrap();
    let (mut stream, _) = socket.accept().unwrap();
    io::copy(&mut stream, &mut io::sink()).unwrap();
    stream.write_all(&[1]).unwrap();
}

/// A namespace on a thread of its own, connected to the proxy's.
struct Client {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Client {
    fn connect_to(proxy: &Namespace) -> Self {
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
            configure(&namespace, "c0", ["10.77.0.2", "fd77::2"]);
            ready.send(()).unwrap();
            for job in to_do {
                job();
            }
        });
        proxy.add_pair("p0", "c0");
        proxy.give("c0", &fd.recv().unwrap());
        configure(proxy, "p0", ["10.77.0.1", "fd77::1"]);
        jobs.send(Box::new(|| ())).unwrap();
        is_ready.recv().unwrap();
        Self { jobs }
    }

    /// Runs something in the client's namespace.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let (done, result) = mpsc::channel();
        let job = move || {
            let _gone = done.send(work());
        };
        self.jobs.send(Box::new(job)).unwrap();
        Running(result)
    }
}

/// Something that runs in the client's namespace.
struct Running<T>(mpsc::Receiver<T>);

impl<T> Running<T> {
    fn join(self) -> Result<T, mpsc::RecvError> {
        self.0.recv()
    }
}

fn configure(namespace: &Namespace, interface: &str, addresses: [&str; 2]) {
    for (address, prefix) in addresses.into_iter().zip([24, 64]) {
        namespace.add_address(interface, address.parse().unwrap(), prefix);
    }
    namespace.set_up(interface);
}

fn start(namespace: &Namespace, listeners: &[GuardListener]) -> Guard {
    object();
    let config = config::Guard {
        mode: GuardMode::Require,
        interfaces: Interfaces::Auto,
    };
    let guard = namespace
        .run(kernel::start(&config, listeners))
        .unwrap()
        .unwrap();
    assert_eq!(guard.attached().collect::<Vec<_>>(), [("p0", Mode::Native)]);
    guard
}

fn listener(name: &str, protocol: Protocol, addr: SocketAddr) -> GuardListener {
    GuardListener {
        name: name.into(),
        protocol,
        addr,
        v6_only: false,
        ipv6_prefix: 64,
    }
}

fn by_client(guard: &Guard, listener: &str) -> Vec<ClientTraffic> {
    guard
        .clients()
        .into_iter()
        .filter(|client| &*client.listener == listener)
        .collect()
}

/// How many TCP segments were sent again in this thread's namespace.
fn retransmissions() -> u64 {
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let at = names
        .split(' ')
        .position(|name| name == "RetransSegs")
        .unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and small"
)]
fn bytes(families: &[MetricFamily], listener: &str) -> u64 {
    value(
        families,
        "packetpony_guard_bytes_total",
        &[listener, "pass", "none"],
    ) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and small"
)]
fn packets(families: &[MetricFamily], listener: &str) -> u64 {
    value(
        families,
        "packetpony_guard_packets_total",
        &[listener, "pass", "none"],
    ) as u64
}

/// The value of the series that has these label values, in any order.
fn value(families: &[MetricFamily], name: &str, labels: &[&str]) -> f64 {
    let family = families
        .iter()
        .find(|family| family.name() == name)
        .unwrap();
    let matches = |metric: &&Metric| {
        let mut values = metric
            .get_label()
            .iter()
            .map(prometheus::proto::LabelPair::value);
        values.all(|value| labels.contains(&value))
    };
    let metric = family.get_metric().iter().find(matches).unwrap();
    metric.get_counter().get_value() + metric.get_gauge().get_value()
}

/// Longer than anything here takes: a test fails then, and does not hang.
const PATIENCE: Duration = Duration::from_secs(20);
