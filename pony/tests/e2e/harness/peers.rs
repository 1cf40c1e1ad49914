//! Clients and targets of the tests.

use std::{
    io::{self, Read, Write},
    mem,
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, wait_for};

/// A TCP target that does `serve` with each connection, on a thread each.
pub(crate) fn tcp_target(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let (listener, address) = tcp_listener();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(patient(stream)));
        }
    });
    address
}

/// A TCP target that the test itself accepts from.
pub(crate) fn tcp_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Waits for the next connection.
#[track_caller]
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = wait_for("a connection to the target", || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    patient(stream)
}

/// Whether a connection waits to be accepted.
pub(crate) fn has_connection(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

/// A target that sends back what it gets, and half-closes after the client did.
pub(crate) fn echo_target() -> SocketAddr {
    tcp_target(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        drop(io::copy(&mut reader, &mut stream));
        drop(stream.shutdown(Shutdown::Write));
    })
}

/// A target that takes everything and keeps it to itself.
pub(crate) fn sink_target() -> SocketAddr {
    tcp_target(|mut stream| drop(io::copy(&mut stream, &mut io::sink())))
}

/// A target that sends `len` bytes of [`pattern`] to everybody and closes.
pub(crate) fn source_target(len: usize) -> SocketAddr {
    tcp_target(move |mut stream| drop(stream.write_all(&pattern(len))))
}

/// An address of loopback where nobody listens for TCP, as long as the tests run: the port is
/// taken, so that no other test can get it.
pub(crate) fn closed_port() -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&address.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    mem::forget(socket);
    address
}

/// A listener that does not answer: its backlog is full of the connections that come with it.
pub(crate) fn unresponsive(address: &str) -> (TcpListener, Vec<Socket>) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let fillers = (0..4).map(|_| {
        let filler = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        drop(filler.connect(&address.into()));
        filler
    });
    let fillers = fillers.collect();
    (listener, fillers)
}

/// A connection whose reads and writes fail instead of hanging the test.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

/// Like [`connect`], from this address of loopback.
#[track_caller]
pub(crate) fn connect_from(ip: &str, address: SocketAddr) -> TcpStream {
    let ip: IpAddr = ip.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    patient(socket.into())
}

/// See [`connect`].
pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Closes `stream` with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// Waits until a reset has come, also on a stream whose end of file has been read.
#[track_caller]
pub(crate) fn expect_reset(stream: &TcpStream) {
    let error = wait_for("a reset", || stream.take_error().unwrap());
    assert!(is_reset(&error), "{error}");
}

/// Whether this is what a peer's reset looks like.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Everything until end of file.
#[track_caller]
pub(crate) fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Everything until a reset.
#[track_caller]
pub(crate) fn read_to_reset(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let error = stream
        .read_to_end(&mut bytes)
        .expect_err("the end is a reset");
    assert!(is_reset(&error), "{error}");
    bytes
}

/// Checks that the connection is closed without a byte: orderly, or, if we have sent something
/// that nobody read, with a reset.
#[track_caller]
pub(crate) fn expect_closed(mut stream: &TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(len) => assert_eq!(len, 0, "nothing was to come"),
        Err(error) => assert!(is_reset(&error), "{error}"),
    }
}

/// Sends `request`, reads as much again, and compares.
#[track_caller]
pub(crate) fn ping(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).unwrap();
    expect_bytes(stream, request);
}

/// Reads as many bytes as are expected, and compares.
#[track_caller]
pub(crate) fn expect_bytes(mut stream: &TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert!(bytes == expected, "other bytes came than were sent");
}

/// Writes and reads at the same time, as much as may not fit into the buffers on the way.
#[track_caller]
#[allow(dead_code, reason = "only the tests in network namespaces do")]
pub(crate) fn exchange(stream: &TcpStream, bytes: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| (&mut &*stream).write_all(bytes).unwrap());
        expect_bytes(stream, bytes);
    });
}

/// Writes on a thread until `bytes` are written or that fails.
pub(crate) fn write_behind(stream: &TcpStream, bytes: Vec<u8>) -> JoinHandle<io::Result<()>> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || stream.write_all(&bytes))
}

/// Writes until nobody on the way takes any more.
pub(crate) fn fill(mut stream: &TcpStream) {
    stream.set_write_timeout(Some(FULL)).unwrap();
    while stream.write(&[7; 1 << 14]).is_ok() {}
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
}

/// Bytes that repeat only after a long time, so that a lost or swapped block is seen.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A UDP socket whose reads fail instead of hanging the test.
pub(crate) fn udp(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A UDP socket on a port that was closed, or is about to be: a process that another test starts just
/// then has the socket before for a moment longer.
pub(crate) fn udp_again(address: SocketAddr) -> UdpSocket {
    let socket = wait_for("the port to be free", || UdpSocket::bind(address).ok());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A UDP client of `address` alone.
pub(crate) fn udp_client(address: SocketAddr) -> UdpSocket {
    let socket = udp(if address.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    });
    socket.connect(address).unwrap();
    socket
}

/// A UDP target that the test itself receives from.
pub(crate) fn udp_listener() -> (UdpSocket, SocketAddr) {
    let socket = udp("127.0.0.1:0");
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A UDP target that sends back what it gets.
pub(crate) fn udp_echo_target() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || echo_datagrams(&socket));
    address
}

/// Sends back every datagram that `socket` gets.
pub(crate) fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((len, from)) = socket.recv_from(&mut buffer) {
        drop(socket.send_to(&buffer[..len], from));
    }
}

/// Sends a datagram and checks that the same comes back.
#[track_caller]
pub(crate) fn ping_udp(client: &UdpSocket, datagram: &[u8]) {
    client.send(datagram).unwrap();
    expect_datagram(client, datagram);
}

/// Checks that the next datagram is this one.
#[track_caller]
pub(crate) fn expect_datagram(socket: &UdpSocket, expected: &[u8]) -> SocketAddr {
    let mut buffer = vec![0; 1 << 16];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    assert!(
        buffer[..len] == *expected,
        "{len} other bytes came than {}",
        expected.len()
    );
    from
}

/// Waits for a thread and passes its panic on.
#[track_caller]
pub(crate) fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("the thread ends well")
}

/// When nothing was taken for this long, everything is full.
const FULL: Duration = Duration::from_millis(300);
