//! Targets that read nothing while clients send as fast as they can: how much memory that takes.

use std::{cell::Cell, fs, net::SocketAddr, rc::Rc, time::Duration};

use socket2::{Domain, Socket, Type};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};

use crate::{
    bytes::Content,
    dice::{index, is_long, seed},
    harness::{Pony, wait_until},
    lane::Lane,
    leftovers::{Leftovers, Sockets, measured, megabytes},
    peer::{Received, receive_async},
    world::block_on,
};

in_every_lane!(alone: targets_that_read_nothing_cost_no_more_memory_than_allowed_and_lose_nothing);

fn targets_that_read_nothing_cost_no_more_memory_than_allowed_and_lose_nothing(lane: Lane) {
    let count = if is_long() { 1000 } else { 256 };
    let (allowed, of_peers) = (count * ALLOWED_EACH, count * OF_EACH);
    let listener = reading_little();
    let target = listener.local_addr().unwrap().as_socket().unwrap();
    let launch = lane.launch(&lane.listener(target, ""));
    let pony = launch.memory(allowed).start();
    let leftovers = Leftovers::before(&pony, lane);
    let before = Memory::now(&pony);

    block_on(async {
        let listener = TcpListener::from_std(listener.into()).unwrap();
        let flows = Flows::start(&listener, pony.address("tcp"), count).await;
        let sent = flows.stalled().await;
        let growth = Memory::now(&pony).since(&before);
        measured(&format!(
            "{lane}: {count} stalled flows took {} from their clients: {growth}",
            megabytes(sent)
        ));
        assert!(given(&pony) > 0, "nothing is accounted for");
        assert!(given(&pony) <= allowed, "there is enough for all");
        wait_until("the memory to be within its limit", || {
            let growth = Memory::now(&pony).since(&before);
            growth.sockets + growth.resident <= allowed + of_peers + OTHERS
                && growth.machine <= allowed + of_peers + OTHERS_OF_MACHINE
        });
        flows.finish(sent).await;
    });
    leftovers.check(&pony, &["tcp".to_owned()]);
    wait_until("the memory to be given back", || given(&pony) == 0);
}

/// What the flows are allowed to pin.
fn given(pony: &Pony) -> u64 {
    let given = pony.metric("packetpony_tcp_memory_bytes", &[]);
    format!("{given:.0}").parse().unwrap()
}

/// Flows whose clients send and whose targets wait.
struct Flows {
    release: Rc<Notify>,
    is_released: Rc<Cell<bool>>,
    sent: Rc<Cell<u64>>,
    clients: JoinSet<u64>,
    targets: JoinSet<(u64, Received)>,
}

impl Flows {
    async fn start(listener: &TcpListener, proxy: SocketAddr, count: u64) -> Self {
        let mut flows = Self {
            release: Rc::default(),
            is_released: Rc::default(),
            sent: Rc::default(),
            clients: JoinSet::new(),
            targets: JoinSet::new(),
        };
        let seed = seed();
        for number in 0..count {
            let content = Content::new(seed, number);
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_send_buffer_size(SMALL).unwrap();
            let client = socket.connect(proxy).await.unwrap();
            let (target, _) = listener.accept().await.unwrap();
            let (sent, is_released) = (Rc::clone(&flows.sent), Rc::clone(&flows.is_released));
            flows
                .clients
                .spawn_local(send(client, content, sent, is_released));
            let release = Rc::clone(&flows.release);
            flows.targets.spawn_local(async move {
                release.notified().await;
                (number, receive_async(target, content).await)
            });
        }
        flows
    }

    /// Waits until no client can send any more but for what probes of closed windows let through,
    /// and returns how much all have sent.
    async fn stalled(&self) -> u64 {
        loop {
            let before = self.sent.get();
            sleep(LOOK).await;
            let now = self.sent.get();
            if now > 0 && now - before <= now / 100 {
                return now;
            }
        }
    }

    /// Lets the targets read; each has every byte that its client has sent.
    async fn finish(mut self, stalled: u64) {
        self.is_released.set(true);
        self.release.notify_waiters();
        let sent: u64 = self.clients.join_all().await.into_iter().sum();
        let mut received = 0;
        while let Some(target) = self.targets.join_next().await {
            let (number, target) = target.unwrap();
            assert_eq!(target.error, None, "flow {number}");
            received += target.bytes;
        }
        assert_eq!(received, sent);
        assert!(sent >= stalled, "the clients went on");
    }
}

/// Sends until it is told to stop, and returns how much.
async fn send(
    mut client: TcpStream,
    content: Content,
    all: Rc<Cell<u64>>,
    stop: Rc<Cell<bool>>,
) -> u64 {
    let mut sent = 0;
    while !stop.get() {
        let written = client.write(content.at(sent, index(PIECE))).await.unwrap() as u64;
        sent += written;
        all.set(all.get() + written);
    }
    client.shutdown().await.unwrap();
    // Until everything has arrived, so that a reset would be seen.
    client.readable().await.unwrap();
    sent
}

/// A listener whose connections have a small buffer.
fn reading_little() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(SMALL as usize).unwrap();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Memory in bytes.
struct Memory {
    /// In the buffers of all TCP sockets, as far as the kernel charges it.
    sockets: u64,
    /// The daemon's own.
    resident: u64,
    /// What the machine has left, turned around: also what nobody is charged for.
    machine: u64,
}

impl Memory {
    fn now(pony: &Pony) -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap();
        let field = |name| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            let kilobytes = line.trim().trim_end_matches("kB").trim();
            kilobytes.parse::<u64>().unwrap() << 10
        };
        Self {
            sockets: Sockets::now().memory,
            resident: pony.resident(),
            machine: field("MemTotal:") - field("MemAvailable:"),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            sockets: self.sockets.saturating_sub(before.sockets),
            resident: self.resident.saturating_sub(before.resident),
            machine: self.machine.saturating_sub(before.machine),
        }
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [sockets, resident, machine] =
            [self.sockets, self.resident, self.machine].map(megabytes);
        write!(
            f,
            "{sockets} in sockets, {resident} in the daemon, {machine} on the machine"
        )
    }
}

/// What the daemon is told to keep to, for each flow: 64 MiB for 256.
const ALLOWED_EACH: u64 = 256 << 10;
/// The kernel doubles it.
const SMALL: u32 = 8 << 10;
const PIECE: u64 = 16 << 10;
/// What the buffers of the test's own sockets hold: their sizes, doubled, with the headers around
/// what is in them.
const OF_EACH: u64 = 2 * 2 * SMALL as u64 + (16 << 10);
/// What others on the machine may take meanwhile.
const OTHERS: u64 = 16 << 20;
const OTHERS_OF_MACHINE: u64 = 256 << 20;
/// When hardly anything was sent for so long, nothing more will be.
const LOOK: Duration = Duration::from_millis(500);
