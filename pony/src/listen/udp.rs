//! The receive loop of a UDP listener.
//!
//! One task owns the socket's receiving side. It finds a datagram's session in O(1) and forwards
//! at once; whatever takes time, such as opening a session, happens in the session's own task.

mod session;
mod silence;
mod socket;
mod table;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pony_common::{reason::Reason, time::Nanos};
use tokio::{select, task::coop::consume_budget, time::sleep};

pub use self::socket::{ListenSocket, Reach};
use self::{
    session::Session,
    socket::{Batch, ClientPath, Datagram},
    table::{Key, Table},
};
use super::{
    front_end::{FrontEnds, Introduction, Peer, result_of, result_of_error},
    service::{Service, canonical},
};
use crate::{
    config::UdpHeader,
    observe::HeaderResult,
    proxy_header::{HeaderError, Progress, Transport, decode, has_begun},
    sys,
    target::Origin,
};

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
        let sender = canonical(datagram.from);
        let Some(front_ends) = &self.service.front_ends else {
            return self.take_own(sender, datagram);
        };
        match front_ends.judge(sender.ip()) {
            Peer::Client => self.take_own(sender, datagram),
            Peer::FrontEnd => self.take_introduced(front_ends, sender, datagram),
            Peer::Stranger => self.service.recorder.refused(sender.ip(), Reason::Acl),
        }
    }

    /// Takes a datagram whose sender is its client.
    fn take_own(&self, sender: SocketAddr, datagram: &Datagram<'_>) {
        let key = Key::own(sender, self.socket.at(datagram));
        if let Some(session) = self.session(key) {
            return session.take(datagram);
        }
        let introduction = || {
            Introduction::from(Origin {
                client: sender,
                destination: self.socket.destination(datagram),
            })
        };
        self.open(key, introduction, datagram);
    }

    /// Takes a datagram of a front end, with a header unless only the first one of a session has one.
    fn take_introduced(&self, front_ends: &FrontEnds, sender: SocketAddr, datagram: &Datagram<'_>) {
        let own = Key::own(sender, self.socket.at(datagram));
        match front_ends.rules.udp {
            UdpHeader::Each => self.introduce(front_ends, own, datagram),
            UdpHeader::First => self.take_once_introduced(front_ends, own, datagram),
        }
    }

    /// Takes a datagram of what is one session of a front end, open or not. Only in its first one a
    /// header is looked for: in another it could be the client's own.
    fn take_once_introduced(&self, front_ends: &FrontEnds, own: Key, datagram: &Datagram<'_>) {
        let now = sys::now();
        let quiet = Nanos::from_duration(self.service.config.udp.session_timeout);
        let session = self.table.touch(own, now);
        let is_over = match &session {
            // It ends in a moment.
            Some(session) => session.is_banned(),
            None => self.table.silence.holds(own, now, quiet),
        };
        if is_over {
            let (result, why) = (
                HeaderResult::Ended,
                "its client was refused, or it has ended early",
            );
            return self
                .service
                .recorder
                .header_refused(own.client, result, &why);
        }
        if let Some(session) = session {
            return session.take(datagram);
        }
        self.introduce(front_ends, own, datagram);
        if self.table.touch(own, now).is_none() {
            self.table.silence.begin(own, now, quiet);
        }
    }

    /// Takes a datagram with a header, or, where none is needed, without one. `own` is the key of those
    /// for whom the front end speaks itself.
    fn introduce(&self, front_ends: &FrontEnds, own: Key, datagram: &Datagram<'_>) {
        let sender = own.client;
        let Some((introduction, len)) = self.introduction(front_ends, sender, datagram) else {
            return;
        };
        let datagram = Datagram {
            payload: &datagram.payload[len..],
            ..*datagram
        };
        let Some(introduction) = introduction else {
            return self.take_own(sender, &datagram);
        };
        let Origin {
            client,
            destination,
        } = introduction.origin;
        let key = match front_ends.rules.udp {
            UdpHeader::First => own,
            UdpHeader::Each => Key {
                client,
                through: Some((sender.ip(), destination)),
                ..own
            },
        };
        match self.session(key) {
            Some(session) => session.take(&datagram),
            None => self.open(key, || introduction, &datagram),
        }
    }

    /// For whom a front end's datagram is, if it says so, and how long it takes for that. `None` if
    /// it is to be dropped, which is counted and logged.
    fn introduction(
        &self,
        front_ends: &FrontEnds,
        sender: SocketAddr,
        datagram: &Datagram<'_>,
    ) -> Option<(Option<Introduction>, usize)> {
        let recorder = &self.service.recorder;
        let payload = datagram.payload;
        let error = match decode(payload, Transport::Datagram) {
            Ok(Progress::Complete { header, len }) => {
                let here = self.socket.destination(datagram);
                if let Err(error) = front_ends.check(&header, here) {
                    recorder.header_refused(sender, HeaderResult::Destination, &error);
                    return None;
                }
                recorder.header(result_of(&header));
                return Some((Introduction::by(header, sender), len));
            }
            Ok(Progress::More(_)) if has_begun(payload) => {
                HeaderError::Malformed("is longer than its datagram")
            }
            Ok(Progress::More(_)) => HeaderError::Missing,
            Err(error) => error,
        };
        if error == HeaderError::Missing && !front_ends.rules.is_required {
            recorder.header(HeaderResult::None);
            return Some((None, 0));
        }
        recorder.header_refused(sender, result_of_error(error), &error);
        None
    }

    /// The session of this key, refreshed.
    fn session(&self, key: Key) -> Option<Arc<Session>> {
        let session = self.table.touch(key, sys::now());
        session.filter(|session| !session.is_banned())
    }

    fn open(&self, key: Key, introduction: impl FnOnce() -> Introduction, datagram: &Datagram<'_>) {
        if self.service.gates.stop.is_cancelled() {
            return;
        }
        let longest = self.service.config.udp.buffer_size;
        if datagram.payload.len() > longest {
            return self
                .service
                .recorder
                .too_long(datagram.payload.len(), longest);
        }
        let introduction = introduction();
        let Some(permit) = self.service.admit(introduction.origin.client.ip()) else {
            return;
        };
        let path = ClientPath::new(&self.socket, datagram);
        let session = Session::new(&self.service, &self.table, key, introduction, permit, path);
        self.table.insert(key, &session);
        session.take(datagram);
        self.service.gates.tasks.spawn(session.run());
    }
}

/// An error of the listening socket itself is rare (out of memory, interface gone) and must not
/// make the loop spin.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
