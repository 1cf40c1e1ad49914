//! HAProxy and nginx, in front of the proxy and behind it: each learns from the other who the client is.

mod behind;
mod examples;
mod in_front;

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Stdio,
};

use tempfile::TempDir;

use crate::{
    harness::{wait_for, wait_until},
    lab::{PROXY_V4, PROXY_V6},
    namespace::Namespace,
    servers,
    tools::{self, Running},
};

/// How the proxies are reached by clients of either family.
const PROXIES: [&str; 2] = [PROXY_V4, PROXY_V6];

/// A proxy of somebody else's.
struct Peer {
    _process: Running,
    folder: TempDir,
}

impl Peer {
    /// `HAProxy` with these sections. It serves once it accepts connections at this port.
    fn haproxy(namespace: &Namespace, port: u16, sections: &str) -> Self {
        let config = format!("{HAPROXY}{sections}");
        Self::start(namespace, port, &config, |file, _| {
            format!("haproxy -db -f {file}")
        })
    }

    /// nginx with these servers of streams.
    fn nginx(namespace: &Namespace, port: u16, servers: &str) -> Self {
        let config = NGINX.replace("SERVERS", servers);
        Self::start(namespace, port, &config, |file, folder| {
            format!("nginx -e stderr -p {folder} -c {file}")
        })
    }

    fn start(
        namespace: &Namespace,
        port: u16,
        config: &str,
        line: impl Fn(&str, &str) -> String,
    ) -> Self {
        let folder = servers::folder();
        let path = |name| folder.path().join(name);
        let here = folder.path().display().to_string();
        fs::write(path("config"), config.replace("FOLDER", &here)).unwrap();
        let line = line(&path("config").display().to_string(), &here);
        let output = File::create(path("output")).unwrap();
        let process = namespace.enter(|| {
            let mut command = tools::command(&line);
            command.stderr(Stdio::from(output.try_clone().unwrap()));
            let mut process = Running::start(command.stdout(Stdio::from(output)));
            wait_until(&line, || {
                let said = || fs::read_to_string(path("output")).unwrap();
                assert!(
                    process.is_running(),
                    "{line} has ended (nginx needs Debian's package libnginx-mod-stream): {}",
                    said()
                );
                TcpStream::connect(("::1", port)).is_ok()
            });
            process
        });
        Self {
            _process: process,
            folder,
        }
    }

    /// What it says of the clients, and of itself.
    fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        read("access.log") + &read("output")
    }

    /// Waits until it has logged this client.
    #[track_caller]
    fn expect_client(&self, client: SocketAddr) {
        let expected = format!("client {} {}", client.ip(), client.port());
        wait_for(&expected, || {
            self.log()
                .lines()
                .any(|line| line == expected)
                .then_some(())
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn at(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// It logs on standard output, one line for each connection when it has ended.
const HAPROXY: &str = "
global
 nbthread 1
 maxconn 100
 log stdout format raw local0
defaults
 mode tcp
 log global
 log-format \"client %ci %cp\"
 timeout connect 10s
 timeout client 30s
 timeout server 30s
";

/// One process, all paths in a folder of its own.
const NGINX: &str = "
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid FOLDER/pid;
events { worker_connections 100; }
stream {
    log_format client 'client $proxy_protocol_addr $proxy_protocol_port';
    SERVERS
}
";
