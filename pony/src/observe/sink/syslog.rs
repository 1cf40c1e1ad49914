//! Syslog, over UDP, TCP or a local socket.
//!
//! What always holds: a record that could not be handed over stays in the batch until there is a
//! connection again; the worker's pauses space the attempts. A connection that breaks inside a
//! line gets that line again in the next one. Over UDP nobody knows what arrives, but what the
//! network reports as refused is counted.

mod link;
mod wire;

use std::io;

use self::{link::Link, wire::Wire};
use super::{Failure, Sink};
use crate::{
    config::{self, SyslogTransport},
    observe::queue::Batch,
};

#[derive(Debug)]
pub(in crate::observe) struct Syslog {
    transport: SyslogTransport,
    wire: Wire,
    /// `None` after a failure.
    link: Option<Link>,
}

impl Syslog {
    /// Connects. Takes up to five seconds per address of the receiver.
    pub(in crate::observe) fn connect(config: &config::Syslog) -> io::Result<Self> {
        let link = Link::connect(&config.transport)?;
        Ok(Self {
            transport: config.transport.clone(),
            wire: Wire::new(&config.tag, &config.transport),
            link: Some(link),
        })
    }

    /// Where a transport leads to, for people.
    pub(in crate::observe) fn address(transport: &SyslogTransport) -> String {
        match transport {
            SyslogTransport::Udp(address) => format!("udp {address}"),
            SyslogTransport::Tcp(address) => format!("tcp {address}"),
            SyslogTransport::Unix(path) => path.display().to_string(),
            SyslogTransport::Local => link::LOCAL_PATHS.join(", "),
        }
    }

    /// Sends the batch from its front and takes out what is sent. Returns also how many datagrams
    /// were refused.
    fn send(&mut self, batch: &mut Batch) -> (u64, io::Result<()>) {
        let link = match self.take_link() {
            Ok(link) => link,
            Err(error) => return (0, Err(error)),
        };
        let mut text = String::new();
        let mut refused = 0;
        while let Some(record) = batch.front() {
            self.wire.line(&mut text, record);
            match link.send(text.as_bytes()) {
                Ok(count) => refused += count,
                Err(error) => return (refused, Err(error)),
            }
            batch.pop_front();
        }
        self.link = Some(link);
        (refused, Ok(()))
    }

    /// The connection; a new one when the old one ended.
    fn take_link(&mut self) -> io::Result<Link> {
        match self.link.take() {
            Some(link) if link.is_open() => Ok(link),
            _ => Link::connect(&self.transport),
        }
    }
}

impl Sink for Syslog {
    fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        let (lost, error) = match self.send(batch) {
            (0, Ok(())) => return Ok(()),
            (lost, Ok(())) => (lost, "the receiver refuses datagrams".to_owned()),
            (lost, Err(error)) => (lost, error.to_string()),
        };
        let address = Self::address(&self.transport);
        let error = format!("{address}: {error}");
        Err(Failure { lost, error })
    }
}

#[cfg(test)]
mod tests;
