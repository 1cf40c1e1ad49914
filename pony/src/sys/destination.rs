//! Receiving datagrams together with what they were sent to, port included.

use std::{
    io, mem,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use socket2::{SockAddr, SockAddrStorage};

use super::set_int;

/// A datagram that is in the buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Received {
    /// How many bytes it has.
    pub len: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// What it was sent to, before anybody sent it here instead.
    pub to: Option<SocketAddr>,
}

/// Has the socket say of every datagram what it was sent to, and not merge any.
pub fn tell_destinations(socket: &impl AsRawFd, is_v6: bool) -> io::Result<()> {
    set_int(socket, libc::SOL_UDP, libc::UDP_GRO, 0)?;
    set_int(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1)?;
    if is_v6 {
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)?;
    }
    Ok(())
}

/// Takes one datagram from a socket that was told to say so, without waiting.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut from = SockAddrStorage::zeroed();
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = from.size_of();
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // A `usize`, or on some machines a `socklen_t`.
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the descriptor is open while it is borrowed. All that the message points to lives
    // until the call returns, and is as long as the message says.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let len = usize::try_from(received).map_err(|_negative| io::Error::last_os_error())?;
    // SAFETY: the kernel has written an address of this length there.
    let from = unsafe { SockAddr::new(from, message.msg_namelen) };
    Ok(Received {
        len,
        from: from.as_socket().ok_or(io::ErrorKind::InvalidData)?,
        to: destination(&message),
    })
}

/// What a message that was received says of its destination.
fn destination(message: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: the kernel has filled in the message and what its parts point to, which still live.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it is null, or a header within the message.
    while let Some(header) = unsafe { next.as_ref() } {
        let kind = (header.cmsg_level, header.cmsg_type);
        if let Some((_, len)) = DESTINATIONS.iter().find(|(known, _)| *known == kind) {
            return address(header, *len);
        }
        // SAFETY: the header is one of the message.
        next = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// The address of this length behind a header.
fn address(header: &libc::cmsghdr, len: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: nothing is read.
    let (data, whole) = unsafe { (libc::CMSG_DATA(header), libc::CMSG_LEN(len)) };
    // A `usize`, or on some machines a `socklen_t`.
    if header.cmsg_len < whole as _ {
        return None;
    }
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: behind the header are so many bytes, and the storage has room for any address.
    unsafe { ptr::copy_nonoverlapping(data, (&raw mut storage).cast(), len as usize) };
    // SAFETY: the kernel has written an address there, of which this is all.
    unsafe { SockAddr::new(storage, len) }.as_socket()
}

/// What the kernel calls a destination, and the length of its address.
const DESTINATIONS: [((i32, i32), libc::socklen_t); 2] = [
    ((libc::SOL_IP, libc::IP_ORIGDSTADDR), 16),
    ((libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR), 28),
];

const _: () = assert!(size_of::<libc::sockaddr_in>() == 16);
const _: () = assert!(size_of::<libc::sockaddr_in6>() == 28);

/// Room for all that the kernel may say of a datagram; words, as it is to be aligned.
const CONTROL_WORDS: usize = 32;

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd as _};

    use super::*;

    fn received(bound: &str, to: &str) -> (Received, Vec<u8>) {
        let socket = UdpSocket::bind(bound).unwrap();
        tell_destinations(&socket, bound.starts_with('[')).unwrap();
        let port = socket.local_addr().unwrap().port();
        let from = if to.contains(':') {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        };
        let client = UdpSocket::bind(from).unwrap();
        client.send_to(b"hello", (to, port)).unwrap();
        let mut buffer = [0; 16];
        // On loopback it is there when it has been sent.
        let received = receive(socket.as_fd(), &mut buffer).unwrap();
        let from = received.from;
        assert_eq!(from.port(), client.local_addr().unwrap().port());
        let expected = SocketAddr::new(to.parse().unwrap(), port);
        let to = received.to.unwrap();
        assert_eq!(SocketAddr::new(to.ip().to_canonical(), to.port()), expected);
        (received, buffer[..received.len].to_vec())
    }

    #[test]
    fn a_datagram_of_each_family_comes_with_both_its_addresses() {
        for (bound, to) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.9"),
            ("[::]:0", "::1"),
            ("[::]:0", "127.0.0.9"),
        ] {
            assert_eq!(received(bound, to).1, b"hello");
        }
    }

    #[test]
    fn where_nothing_waits_nothing_is_waited_for() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = receive(socket.as_fd(), &mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
