//! What the kernel knows of a TCP connection, asked of its socket.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::{
    io::ioctl_fionread,
    net::{ipproto, sockopt},
};

use super::set_int;

/// A TCP connection as it was at one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TcpInfo {
    /// Which ends of it are open.
    pub stage: Stage,
    /// How far the peer has acknowledged: bytes, and one for the `SYN` of a socket that connected.
    pub acked: u64,
    /// How much was received in order: bytes, and one for the peer's `FIN`.
    pub received: u64,
    /// How many bytes the peer may send, as it was told last. `None` before Linux 6.2.
    pub receive_window: Option<u32>,
}

/// Which ends of a TCP connection are open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Both.
    Open,
    /// Only the peer sends.
    ShutByUs,
    /// The peer does not send any more.
    ShutByPeer,
    /// None, or it was reset.
    Closed,
    /// It is not a connection, or not yet.
    Other,
}

impl TcpInfo {
    /// Asks the socket. Waits until nobody else, the kernel's own packet processing included, is
    /// at work on it.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut bytes = [0; INFO_BYTES];
        let mut len = libc::socklen_t::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: the descriptor is open while it is borrowed, and the kernel writes at most `len`
        // bytes, into an array that is so long.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // An older kernel knows less.
        let told = bytes.get(..len as usize).unwrap_or(&bytes);
        Self::parse(told).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn parse(told: &[u8]) -> Option<Self> {
        Some(Self {
            stage: Stage::from_state(*told.first()?),
            acked: u64::from_ne_bytes(field(told, ACKED)?),
            received: u64::from_ne_bytes(field(told, RECEIVED)?),
            receive_window: field(told, RECEIVE_WINDOW).map(u32::from_ne_bytes),
        })
    }
}

impl Stage {
    /// From the kernel's `enum tcp_state`.
    const fn from_state(state: u8) -> Self {
        match state {
            1 => Self::Open,
            4 | 5 => Self::ShutByUs,
            6 | 8 | 9 | 11 => Self::ShutByPeer,
            7 => Self::Closed,
            _ => Self::Other,
        }
    }
}

/// How many bytes wait to be read from a TCP socket.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(ioctl_fionread(socket)?)
}

/// How many bytes were written to a TCP socket that its peer has not acknowledged.
pub fn unacked(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes a `c_int`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Whether it is a socket for plain TCP, and not for one of the protocols that look like it.
pub fn is_tcp(socket: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(sockopt::socket_protocol(socket)? == Some(ipproto::TCP))
}

/// The number that the kernel gave the socket: no other has the same until the next boot.
pub fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(sockopt::socket_cookie(socket)?)
}

/// How much memory what is received may take.
pub fn receive_buffer(socket: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(sockopt::socket_recv_buffer_size(socket)?)
}

/// How much memory what is sent may take until it is acknowledged.
pub fn send_buffer(socket: BorrowedFd<'_>) -> io::Result<usize> {
    Ok(sockopt::socket_send_buffer_size(socket)?)
}

/// How many bytes must have arrived until those who wait for some are told.
pub fn set_receive_mark(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set_int(&socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

/// Changes how much memory what is received may take. The kernel does not change it by itself from
/// then on.
pub fn set_receive_buffer(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    // The kernel doubles it, for what it needs to keep track.
    Ok(sockopt::set_socket_recv_buffer_size(socket, bytes / 2)?)
}

/// Which of a socket's buffers the kernel does not change by itself.
pub fn fixed_buffers(socket: BorrowedFd<'_>) -> io::Result<i32> {
    let mut which: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of_val(&which)).unwrap_or(0);
    // SAFETY: the descriptor is open while it is borrowed, and the kernel writes a `c_int`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_BUF_LOCK,
            (&raw mut which).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(which)
}

/// Changes which these are, to what [`fixed_buffers`] has said.
pub fn fix_buffers(socket: BorrowedFd<'_>, which: i32) -> io::Result<()> {
    set_int(&socket, libc::SOL_SOCKET, SO_BUF_LOCK, which)
}

fn field<const N: usize>(told: &[u8], at: usize) -> Option<[u8; N]> {
    told.get(at..at + N)?.try_into().ok()
}

/// From the kernel's `asm-generic/socket.h`; there since 5.15.
const SO_BUF_LOCK: libc::c_int = 72;
/// More than any kernel tells.
const INFO_BYTES: usize = 512;
// Where fields begin in the kernel's `struct tcp_info`, which only grows at its end.
const ACKED: usize = 120;
const RECEIVED: usize = 128;
const RECEIVE_WINDOW: usize = 232;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Shutdown, TcpListener, TcpStream},
        os::fd::AsFd as _,
        thread,
        time::Duration,
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn counts_what_is_sent_received_and_acknowledged() {
        let (mut one, mut other) = pair();
        assert_eq!(TcpInfo::of(one.as_fd()).unwrap().acked, 1, "the SYN");
        assert_eq!(TcpInfo::of(other.as_fd()).unwrap().acked, 0);
        one.write_all(&[7; 1000]).unwrap();
        other.read_exact(&mut [0; 400]).unwrap();
        assert_eq!(unread(other.as_fd()).unwrap(), 600);
        let info = TcpInfo::of(other.as_fd()).unwrap();
        assert_eq!((info.received, info.stage), (1000, Stage::Open));
        assert!(info.receive_window.is_none_or(|window| window > 1000));
        let sent = TcpInfo::of(one.as_fd()).unwrap().acked + unacked(one.as_fd()).unwrap();
        assert_eq!(sent, 1001);
    }

    #[test]
    fn tells_which_ends_are_open() {
        let (one, other) = pair();
        let stage = |socket: &TcpStream| TcpInfo::of(socket.as_fd()).unwrap().stage;
        one.shutdown(Shutdown::Write).unwrap();
        while stage(&other) == Stage::Open {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(stage(&one), Stage::ShutByUs);
        assert_eq!(stage(&other), Stage::ShutByPeer);
        assert_eq!(TcpInfo::of(other.as_fd()).unwrap().received, 1, "the FIN");
        other.shutdown(Shutdown::Write).unwrap();
        while stage(&one) != Stage::Closed {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn takes_an_older_kernels_word_as_far_as_it_goes() {
        let mut told = [0; RECEIVE_WINDOW];
        told[0] = 8;
        told[RECEIVED] = 5;
        let info = TcpInfo::parse(&told).unwrap();
        assert_eq!((info.stage, info.received), (Stage::ShutByPeer, 5));
        assert_eq!(info.receive_window, None);
        assert_eq!(TcpInfo::parse(&told[..ACKED]), None);
    }

    #[test]
    fn knows_a_socket_by_its_number_and_protocol() {
        let (one, other) = pair();
        assert!(is_tcp(one.as_fd()).unwrap());
        assert_ne!(cookie(one.as_fd()).unwrap(), cookie(other.as_fd()).unwrap());
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!is_tcp(udp.as_fd()).unwrap());
    }
}
