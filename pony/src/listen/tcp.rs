//! The accept loop of a TCP listener, and a flow's life from `accept` to its close event.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::sleep,
};

use tokio_util::sync::CancellationToken;

use super::{
    service::{Service, canonical},
    socket::prepare,
};
use crate::{
    observe::ErrorKind,
    policy::Permit,
    relay::{End, Flow, Side, broken, relay_tcp, reset},
    target::{ConnectError, connect_tcp},
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
    let Some(permit) = service.admit(address.ip()) else {
        return;
    };
    let task = serve_flow(Arc::clone(service), client, address, permit, cut.clone());
    service.gates.tasks.spawn(task);
}

async fn serve_flow(
    service: Arc<Service>,
    client: TcpStream,
    address: SocketAddr,
    permit: Permit,
    cut: CancellationToken,
) {
    let record = Arc::new(service.recorder.open(address));
    let tcp = &service.config.tcp;
    let connecting = connect_tcp(
        &service.resolver,
        &service.config.target,
        tcp.connect_timeout,
    );
    let connected = select! {
        biased;
        () = cut.cancelled() => {
            return record.close(End::Cut.error());
        }
        () = permit.banned() => {
            reset(&SockRef::from(&client));
            record.banned();
            return record.close(End::Banned.error());
        }
        error = broken(&client) => {
            return record.close(End::Broken(Side::Client, error).error());
        }
        connected = connecting => connected,
    };
    let target = match connected {
        Ok(target) => target,
        Err(error) => {
            drop(client);
            let kind = match error {
                ConnectError::Resolve(_) => ErrorKind::InvalidTarget,
                ConnectError::Refused { .. } | ConnectError::TimedOut { .. } => {
                    ErrorKind::TargetConnect
                }
            };
            service.recorder.connect_failed(address.ip(), kind, &error);
            return record.close(Some(error.to_string()));
        }
    };
    record.connected();
    // Fails only on a connection that is gone, which the relay is about to notice.
    drop(prepare(&SockRef::from(&target), tcp.keepalive));
    let flow = Flow {
        record: &record,
        permit: &permit,
        rules: tcp,
        board: service.board.as_deref(),
        whims: service.whims.as_deref(),
        memory: &service.memory,
        cut: &cut,
    };
    let end = relay_tcp(&flow, client, target).await;
    match end {
        End::OverBandwidth => record.over_bandwidth(),
        End::Banned => record.banned(),
        _ => {}
    }
    record.close(end.error());
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
