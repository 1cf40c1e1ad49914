//! The accept loop of a TCP listener, and a flow's life from `accept` to its close event.

use std::{io, net::SocketAddr, os::fd::AsFd as _, sync::Arc, time::Duration};

use pony_common::reason::Reason;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::sleep,
};

use tokio_util::sync::CancellationToken;

use super::{
    front_end::{Introduction, Peer, introduce},
    service::{Service, canonical},
    socket::prepare,
};
use crate::{
    observe::{ErrorKind, FlowRecord},
    policy::Permit,
    proxy_header::Transport,
    relay::{End, Flow, Side, Sockets, broken, relay_tcp},
    target::{ConnectError, Dial, send_header},
};

/// Accepts clients on `socket` until the daemon stops.
pub async fn serve_tcp(service: Arc<Service>, socket: TcpListener) {
    // Every flow waits for it. With one of our own we share the list of who waits with no other
    // thread.
    let cut = service.gates.cut.child_token();
    loop {
        let accepted = select! {
            biased;
            () = service.gates.stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((client, address)) => accept(&service, client, canonical(address), &cut),
            Err(error) => {
                service.recorder.listen_failed(&error);
                sleep(pause_after(&error)).await;
            }
        }
    }
}

fn accept(service: &Arc<Service>, client: TcpStream, address: SocketAddr, cut: &CancellationToken) {
    let peer = match &service.front_ends {
        Some(front_ends) => front_ends.judge(address.ip()),
        None => Peer::Client,
    };
    match peer {
        Peer::Stranger => return service.recorder.refused(address.ip(), Reason::Acl),
        Peer::FrontEnd => return accept_front_end(service, client, address, cut),
        Peer::Client => {}
    }
    let introduction = Introduction::own(&client, address);
    let Some(mut arrival) = Arrival::new(service, client, introduction, cut) else {
        return;
    };
    // A block that has it, and not a function that is given it, which would have room for it twice:
    // https://github.com/rust-lang/rust/issues/62958
    let task = async move { arrival.serve().await };
    service.gates.tasks.spawn(task);
}

/// Like [`accept`], for a connection that says first for whom it is.
fn accept_front_end(
    service: &Arc<Service>,
    socket: TcpStream,
    front_end: SocketAddr,
    cut: &CancellationToken,
) {
    let (cut, of_task) = (cut.clone(), Arc::clone(service));
    let task = async move {
        let service = of_task;
        let Some(front_ends) = &service.front_ends else {
            return;
        };
        // On the heap, and gone before the flow begins.
        let introduced = Box::pin(introduce(&service, front_ends, &socket, front_end, &cut));
        let Some(introduction) = introduced.await else {
            return;
        };
        if let Some(mut arrival) = Arrival::new(&service, socket, introduction, &cut) {
            arrival.serve().await;
        }
    };
    service.gates.tasks.spawn(task);
}

/// An admitted client, until its flow has ended.
struct Arrival {
    sockets: Sockets,
    record: Arc<FlowRecord>,
    permit: Permit,
    /// What the target may have to be told; until it is.
    introduction: Option<Box<Introduction>>,
    cut: CancellationToken,
    service: Arc<Service>,
}

/// Why a client was not connected to the target.
enum Gone {
    /// It, or the daemon, ended it.
    Ended(End),
    NotConnected(ConnectError),
}

impl Arrival {
    /// Asks the policy about a client. `None` if it may not come in.
    fn new(
        service: &Arc<Service>,
        socket: TcpStream,
        mut introduction: Introduction,
        cut: &CancellationToken,
    ) -> Option<Self> {
        let Introduction { party, origin, .. } = introduction;
        let permit = service.admit(origin.client.ip())?;
        service.name(&mut introduction);
        let target = service.target(&introduction);
        let passage = introduction.passage();
        let is_sent = service.config.proxy_protocol.send.is_some();
        Some(Self {
            sockets: Sockets::new(socket),
            record: Arc::new(service.recorder.open(party, origin.client, target, passage)),
            permit,
            introduction: is_sent.then(|| Box::new(introduction)),
            cut: cut.clone(),
            service: Arc::clone(service),
        })
    }

    async fn serve(&mut self) {
        // On the heap, and not where it takes room for as long as the flow lives.
        if let Err(gone) = Box::pin(self.connect()).await {
            return self.give_up(&gone);
        }
        self.record.connected();
        let flow = Flow {
            record: &self.record,
            permit: &self.permit,
            rules: &self.service.config.tcp,
            board: self.service.board.get().map(Arc::as_ref),
            whims: self.service.whims.as_deref(),
            memory: &self.service.memory,
            cut: &self.cut,
        };
        let end = relay_tcp(&flow, &mut self.sockets).await;
        self.sockets.close();
        match end {
            End::OverBandwidth => self.record.over_bandwidth(),
            End::Banned => self.record.banned(),
            _ => {}
        }
        self.record.close(end.error());
    }

    async fn connect(&mut self) -> Result<(), Gone> {
        let client = self.sockets.client().map_err(Gone::Ended)?;
        let tcp = &self.service.config.tcp;
        let dial = Dial {
            resolver: &self.service.resolver,
            target: self.record.target(),
            source: &self.service.config.source,
            claims: &self.service.claims,
            client: self.record.source(),
            limit: tcp.connect_timeout,
        };
        let target = select! {
            biased;
            () = self.cut.cancelled() => return Err(Gone::Ended(End::Cut)),
            () = self.permit.banned() => return Err(Gone::Ended(End::Banned)),
            error = broken(client) => {
                return Err(Gone::Ended(End::Broken(Side::Client, error)));
            }
            connected = dial.tcp() => connected.map_err(Gone::NotConnected)?,
        };
        // Fails only on a connection that is gone, which the relay is about to notice.
        drop(prepare(&SockRef::from(&target), tcp.keepalive));
        if let Some(introduction) = self.introduction.take()
            && let Some(send) = &self.service.config.proxy_protocol.send
        {
            let header = introduction.header(send, Transport::Stream);
            let sent = send_header(&target, client.as_fd(), &header).await;
            sent.map_err(|error| Gone::Ended(End::Broken(Side::Target, error)))?;
        }
        self.sockets.connected(target);
        Ok(())
    }

    fn give_up(&mut self, gone: &Gone) {
        let error = match gone {
            Gone::Ended(end) => {
                if matches!(end, End::Banned) {
                    self.sockets.reset();
                    self.record.banned();
                }
                end.error()
            }
            Gone::NotConnected(error) => {
                self.sockets.close();
                let kind = match error {
                    ConnectError::Resolve(_) => ErrorKind::InvalidTarget,
                    _ => ErrorKind::TargetConnect,
                };
                self.record.not_connected(kind, error);
                Some(error.to_string())
            }
        };
        self.sockets.close();
        self.record.close(error);
    }
}

/// How long to wait before the next `accept`.
///
/// Out of descriptors or memory: the client stays in the backlog, so an immediate retry would fail
/// again and keep a core busy until something closes. The errors that `accept(2)` passes on from
/// the client's connection concern that client alone; whatever else there may be must not spin.
fn pause_after(error: &io::Error) -> Duration {
    match error.raw_os_error() {
        Some(
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::EPERM,
        ) => Duration::ZERO,
        _ => RESOURCE_PAUSE,
    }
}

/// Short enough to be unnoticed by clients, long enough to leave the processor to what can help.
const RESOURCE_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_pauses_and_a_client_that_left_does_not() {
        for errno in [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EINVAL,
        ] {
            assert_eq!(
                pause_after(&io::Error::from_raw_os_error(errno)),
                RESOURCE_PAUSE
            );
        }
        let aborted = io::Error::from_raw_os_error(libc::ECONNABORTED);
        assert_eq!(pause_after(&aborted), Duration::ZERO);
    }
}
