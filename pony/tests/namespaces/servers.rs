//! Targets: a web server, a DNS server, and echoes.

use std::{
    fs,
    io::copy,
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use tempfile::TempDir;

use crate::{
    harness::{peers::echo_datagrams, wait_until},
    namespace::Namespace,
    tools::{self, Running},
};

/// nginx on port 80 of both families, with files to get and a place to put some.
pub(crate) struct WebServer {
    _process: Running,
    folder: TempDir,
}

impl WebServer {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let folder = folder();
        let path = folder.path().display();
        fs::create_dir(folder.path().join("files")).unwrap();
        let file = folder.path().join("nginx.conf");
        fs::write(&file, NGINX.replace("FOLDER", &path.to_string())).unwrap();

        let line = format!("nginx -e {path}/error.log -p {path} -c {}", file.display());
        let process = start(namespace, &line, 80);
        Self {
            _process: process,
            folder,
        }
    }

    /// Where this file is, or will be when it has been uploaded.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    /// Where it writes each client's address.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }
}

/// dnsmasq on port 53 of both families.
pub(crate) struct DnsServer {
    _process: Running,
    _folder: TempDir,
}

impl DnsServer {
    /// With these lines of configuration.
    pub(crate) fn start(namespace: &Namespace, records: &str) -> Self {
        let folder = folder();
        let file = folder.path().join("dnsmasq.conf");
        let pid = folder.path().join("pid");
        let own = format!(
            "no-resolv\nno-hosts\nuser=root\npid-file={}\n",
            pid.display()
        );
        fs::write(&file, own + records).unwrap();

        let line = format!(
            "dnsmasq --keep-in-foreground --log-facility=/dev/null --conf-file={}",
            file.display()
        );
        Self {
            _process: start(namespace, &line, 53),
            _folder: folder,
        }
    }
}

/// Sends back what comes to port 7, by TCP and by UDP. Lasts until the test program ends.
pub(crate) fn echo(namespace: &Namespace) {
    namespace.enter(|| {
        let tcp = TcpListener::bind("[::]:7").unwrap();
        thread::spawn(move || {
            for stream in tcp.incoming().map_while(Result::ok) {
                thread::spawn(move || echo_stream(&stream));
            }
        });
        let udp = UdpSocket::bind("[::]:7").unwrap();
        thread::spawn(move || echo_datagrams(&udp));
    });
}

fn echo_stream(mut stream: &TcpStream) {
    let mut reader = stream;
    // A client that goes away is no news here.
    drop(copy(&mut reader, &mut stream));
    drop(stream.shutdown(Shutdown::Write));
}

/// Starts a server and waits until it answers on this port.
fn start(namespace: &Namespace, line: &str, port: u16) -> Running {
    namespace.enter(|| {
        let mut command = tools::command(line);
        let mut process = Running::start(command.stdout(Stdio::null()));
        wait_until(line, || {
            assert!(process.is_running(), "{line} has ended");
            TcpStream::connect(("::1", port)).is_ok()
        });
        process
    })
}

/// A folder that has room for large files.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap()
}

/// One process, all paths in a folder of its own.
const NGINX: &str = "
daemon off;
master_process off;
pid FOLDER/pid;
events { worker_connections 512; }
http {
    log_format client '$remote_addr';
    access_log FOLDER/access.log client;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    server {
        listen 80;
        listen [::]:80;
        root FOLDER/files;
        location / { dav_methods PUT; }
    }
}
";
