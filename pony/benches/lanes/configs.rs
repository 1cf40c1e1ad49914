//! What the proxies are told: as many threads as there are cores, room for all that comes, and
//! patience.

use std::fmt::Write as _;

use crate::{contestant::Listens, cores, place::Ends, setting::Setting};

/// Half-closed connections work by themselves. It says nothing to anybody: no `log`.
pub(crate) fn haproxy(fronts: Ends, targets: Ends) -> String {
    let mut text = format!(
        "global\n nbthread {}\n maxconn {FLOWS}\ndefaults\n mode tcp\n option splice-auto\n \
         maxconn {FLOWS}\n timeout connect 10s\n timeout client 10m\n timeout server 10m\n",
        cores()
    );
    let (accept, source) = match fronts.setting {
        Setting::Direct | Setting::Ports => ("", ""),
        Setting::Balanced => (" accept-proxy", " source 0.0.0.0 usesrc client"),
    };
    for ((name, front), (_, target)) in fronts.all().into_iter().zip(targets.all()) {
        let _infallible = write!(
            text,
            "listen {name}\n bind {front}{accept}\n server target {target}{source}\n"
        );
    }
    text
}

/// `access_log` is off in `stream` by default.
pub(crate) fn nginx(fronts: Ends, targets: Ends) -> String {
    let mut text = format!(
        "load_module {NGINX_STREAM};\ndaemon off;\npid nginx.pid;\nerror_log stderr error;\n\
         worker_processes {};\nworker_rlimit_nofile {};\n\
         events {{ worker_connections {}; }}\n\
         stream {{\n proxy_half_close on;\n proxy_connect_timeout 10s;\n proxy_timeout 10m;\n",
        cores(),
        3 * FLOWS,
        2 * FLOWS
    );
    let (accept, source) = match fronts.setting {
        Setting::Direct | Setting::Ports => ("", ""),
        Setting::Balanced => (
            " proxy_protocol",
            " proxy_bind $proxy_protocol_addr:$proxy_protocol_port transparent;",
        ),
    };
    for ((_, front), (_, target)) in fronts.all().into_iter().zip(targets.all()) {
        let _infallible = writeln!(
            text,
            " server {{ listen {front}{accept}; proxy_pass {target};{source} }}"
        );
    }
    text + "}\n"
}

/// Like `configs/example.yaml`, with every session's start and end logged on standard output, but
/// without limits and without the guard: what is compared is forwarding. Two of one name would not
/// be let into one network.
pub(crate) fn pony(fronts: Ends, targets: Ends, lane: Option<&str>, listens: Listens) -> String {
    let last = |first: u16| match listens {
        Listens::Port => String::new(),
        Listens::Range => format!("-{}", first + 1),
    };
    let mut more = lane.map_or_else(String::new, |lane| format!("    tcp: {{ lane: {lane} }}\n"));
    if fronts.setting == Setting::Balanced {
        more += "    proxy_protocol: { accept: required, trusted: [127.0.0.0/8] }\n    \
                 preserve_source: true\n";
    }
    let mut text = format!(
        "server: {{ name: bench-{} }}\n\
         logging: {{ stdout: {{ enabled: true }} }}\n\
         metrics: {{ prometheus: {{ enabled: true, listen_address: \"127.0.0.1:0\" }} }}\n\
         guard: {{ mode: off }}\n\
         admin: {{ socket: off }}\n\
         listeners:\n",
        fronts.sink.port()
    );
    for ((name, front), (_, target)) in fronts.all().into_iter().zip(targets.all()) {
        let _infallible = write!(
            text,
            "  - name: {name}\n    protocol: tcp\n    listen_address: {front}{}\n    \
             target_address: {target}\n    allowlist: [\"0.0.0.0/0\"]\n{more}",
            last(front.port())
        );
    }
    if fronts.setting == Setting::Ports {
        let (front, target) = (fronts.echo, targets.echo);
        let _infallible = write!(
            text,
            "  - name: datagrams\n    protocol: udp\n    listen_address: {front}{}\n    \
             target_address: {target}\n    allowlist: [\"0.0.0.0/0\"]\n",
            last(front.port())
        );
    }
    text
}

/// More than are ever open at once, with two descriptors each and some for pipes: within 20,000.
const FLOWS: u32 = 6000;
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
