//! The demo's targets: a small HTTP server and a UDP echo, on threads of their own.

use std::{
    convert::Infallible,
    io,
    net::{TcpListener, UdpSocket},
    thread,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::runtime;

use crate::config::{Host, Listener, Protocol, Target};

/// Starts what each listener's target should answer.
pub(super) fn start(listeners: &[Listener]) -> io::Result<()> {
    for listener in listeners {
        let address = place(&listener.target)?;
        match listener.protocol {
            Protocol::Tcp => {
                let socket = TcpListener::bind(address)?;
                spawn("demo-http", move || serve_http(socket))?;
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(address)?;
                spawn("demo-echo", move || echo(&socket))?;
            }
        }
    }
    Ok(())
}

fn place(target: &Target) -> io::Result<(std::net::IpAddr, u16)> {
    match (&target.host, target.port) {
        (Host::Ip(ip), Some(port)) => Ok((*ip, port)),
        _ => Err(io::Error::other(format!(
            "{target} is not a literal address with a port"
        ))),
    }
}

fn spawn(name: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let run = move || drop(work());
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map(drop)
}

fn echo(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (len, client) = socket.recv_from(&mut buffer)?;
        // An answer that cannot be sent is the asker's loss only.
        drop(socket.send_to(&buffer[..len], client));
    }
}

fn serve_http(socket: TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            loop {
                let (stream, proxy) = socket.accept().await?;
                let page = service_fn(move |request| async move {
                    Ok::<_, Infallible>(page(&request, &proxy.to_string()))
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), page);
                tokio::spawn(async { drop(connection.await) });
            }
        })
}

fn page(request: &Request<Incoming>, proxy: &str) -> Response<Full<Bytes>> {
    let text = format!(
        "Hello from the target behind PacketPony.\n\
         You asked for {}; the proxy asked me from {proxy}.\n",
        request.uri().path()
    );
    Response::new(Full::new(Bytes::from(text)))
}
