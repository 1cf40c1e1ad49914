//! The receive loop of a UDP listener.
//!
//! One task owns the socket's receiving side. It finds a datagram's session in O(1) and forwards
//! at once; whatever takes time, such as opening a session, happens in the session's own task.

mod session;
mod socket;
mod table;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{select, task::coop::consume_budget, time::sleep};

pub use self::socket::ListenSocket;
use self::{
    session::Session,
    socket::{Batch, ClientPath, Datagram},
    table::Table,
};
use super::service::{Service, canonical};
use crate::sys;

/// Receives datagrams on `socket` until the daemon stops and the last session has ended.
pub async fn serve_udp(service: Arc<Service>, socket: ListenSocket) {
    let table = Arc::new(Table::default());
    Receiver {
        service,
        socket: Arc::new(socket),
        table,
    }
    .run()
    .await;
}

struct Receiver {
    service: Arc<Service>,
    socket: Arc<ListenSocket>,
    table: Arc<Table>,
}

impl Receiver {
    async fn run(&self) {
        let mut batch = Batch::new();
        loop {
            let drained = async {
                self.service.gates.stop.cancelled().await;
                self.table.emptied().await;
            };
            let received = select! {
                biased;
                () = drained => return,
                received = self.socket.receive(&mut batch) => received,
            };
            match received {
                Ok(()) => batch.datagrams().for_each(|datagram| self.take(&datagram)),
                Err(error) => {
                    self.service.recorder.listen_failed(&error);
                    sleep(ERROR_PAUSE).await;
                }
            }
            // Receiving never makes the task wait while there is more; under a flood it would
            // keep its thread from everything else.
            consume_budget().await;
        }
    }

    fn take(&self, datagram: &Datagram<'_>) {
        let client = canonical(datagram.from);
        let now = sys::now();
        let session = self.table.touch(client, now);
        if let Some(session) = session.filter(|session| !session.is_banned()) {
            session.take(datagram);
        } else if !self.service.gates.stop.is_cancelled() {
            self.open(client, datagram);
        }
    }

    fn open(&self, client: SocketAddr, datagram: &Datagram<'_>) {
        let longest = self.service.config.udp.buffer_size;
        if datagram.payload.len() > longest {
            return self
                .service
                .recorder
                .too_long(datagram.payload.len(), longest);
        }
        let Some(permit) = self.service.admit(client.ip()) else {
            return;
        };
        let path = ClientPath::new(&self.socket, datagram);
        let session = Session::new(&self.service, &self.table, client, permit, path);
        self.table.insert(client, &session);
        session.take(datagram);
        self.service.gates.tasks.spawn(session.run());
    }
}

/// An error of the listening socket itself is rare (out of memory, interface gone) and must not
/// make the loop spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
