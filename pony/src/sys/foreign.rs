//! Sockets with addresses that are not this machine's.

use std::{io, net::SocketAddr};

use socket2::Socket;

/// Lets a socket have addresses that are not this machine's.
pub fn set_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // The kernel keeps one flag for both families of an IPv6 socket.
    if address.is_ipv6() {
        socket.set_ip_transparent_v6(true)
    } else {
        socket.set_ip_transparent_v4(true)
    }
}

/// Lets a socket be bound to an address that this machine does not have.
pub fn set_freebind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        socket.set_freebind_v6(true)
    } else {
        socket.set_freebind_v4(true)
    }
}
