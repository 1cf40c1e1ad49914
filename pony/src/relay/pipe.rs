//! Pipes that flows borrow for the moment in which they move bytes.
//!
//! As with buffers: a flow takes one when there is something to move and gives it back when it is
//! empty, each thread keeps a few, and ten thousand idle flows hold none.

use std::{cell::RefCell, io, os::fd::OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

/// How many bytes a pipe should hold. The kernel gives less to users that have many pipes.
pub(super) const PIPE_LEN: usize = 256 * 1024;

/// How many pipes a thread keeps for the next flows.
const KEPT_PER_THREAD: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// A borrowed pipe.
pub(super) struct Pipe {
    ends: Option<Ends>,
    /// How many bytes are in it. A pipe that is not empty is closed, and not given back.
    len: usize,
}

impl Pipe {
    pub(super) fn take() -> io::Result<Self> {
        let kept = FREE.with_borrow_mut(Vec::pop);
        let ends = match kept {
            Some(ends) => ends,
            None => open()?,
        };
        Ok(Self {
            ends: Some(ends),
            len: 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes up to `most` bytes of what `from` has, as far as they fit; 0 is end of file.
    pub(super) fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let ends = self.ends()?;
        let len = splice(from, None, &ends.write, None, most, FLAGS)?;
        self.len += len;
        Ok(len)
    }

    /// Gives `to` up to `most` bytes.
    pub(super) fn drain(&mut self, to: &TcpStream, most: usize) -> io::Result<usize> {
        let ends = self.ends()?;
        let len = splice(&ends.read, None, to, None, most.min(self.len), FLAGS)?;
        self.len = self.len.saturating_sub(len);
        Ok(len)
    }

    fn ends(&self) -> io::Result<&Ends> {
        self.ends.as_ref().ok_or(io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        if self.len > 0 {
            return;
        }
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT_PER_THREAD {
                free.push(ends);
            }
        });
    }
}

fn open() -> io::Result<Ends> {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    // Refused when the user has many (`pipe-user-pages-soft`): a pipe of any size will do.
    fcntl_setpipe_size(&write, PIPE_LEN).ok();
    Ok(Ends { read, write })
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn moves_bytes_and_is_used_again_only_when_empty() {
        let (near, source) = connected().await;
        let (destination, far) = connected().await;
        near.writable().await.unwrap();
        near.try_write(b"hello").unwrap();
        source.readable().await.unwrap();

        let mut pipe = Pipe::take().unwrap();
        assert_eq!(pipe.fill(&source, PIPE_LEN).unwrap(), 5);
        assert_eq!(
            pipe.fill(&source, PIPE_LEN).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(pipe.drain(&destination, 2).unwrap(), 2);
        assert_eq!(pipe.len(), 3);
        let before = FREE.with_borrow(Vec::len);
        assert_eq!(pipe.drain(&destination, 9).unwrap(), 3);
        drop(pipe);
        assert_eq!(FREE.with_borrow(Vec::len), before + 1);

        let mut buffer = [0; 9];
        let mut seen = 0;
        while seen < 5 {
            far.readable().await.unwrap();
            seen += far.try_read(&mut buffer[seen..]).unwrap_or(0);
        }
        assert_eq!(&buffer[..5], b"hello");

        near.try_write(b"more").unwrap();
        let mut pipe = Pipe::take().unwrap();
        source.readable().await.unwrap();
        while pipe.fill(&source, PIPE_LEN).is_err() {
            tokio::task::yield_now().await;
        }
        let before = FREE.with_borrow(Vec::len);
        drop(pipe);
        assert_eq!(
            FREE.with_borrow(Vec::len),
            before,
            "closed: it was not empty"
        );
    }
}
