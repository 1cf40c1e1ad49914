//! How long it takes to be there, and what the maps weigh.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Instant,
};

use crate::{
    Effort,
    harness::{Launch, Pony},
    lab::{Lab, PORT, PROXY, TARGET},
    report::Report,
};

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let lab = Lab::new();
    echo(&lab);
    let launches = [
        ("guard off", 1, "off"),
        ("guard on", 1, "require"),
        ("guard on, 1000000 prefixes", 1_000_000, "require"),
        ("guard off, 1000000 prefixes", 1_000_000, "off"),
    ];
    let mut values = vec![Vec::new(); launches.len()];
    for _ in 0..effort.pick(9, 1) {
        for ((_, prefixes, guard), values) in launches.iter().zip(&mut values) {
            let launch = lab.launch(*prefixes).guard(guard);
            let (milliseconds, _pony) = first_connection(&lab, launch);
            values.push(milliseconds);
        }
    }
    let mut medians = launches
        .iter()
        .zip(values)
        .map(|((name, ..), values)| report.add(SECTION, name, "ms", values));
    let (_off, on) = (medians.next(), medians.next());
    medians.for_each(drop);
    report.aim(SECTION, "guard on", "ms", vec![on.unwrap()], 300.0);

    let (_, pony) = first_connection(&lab, lab.launch(1).guard("require"));
    report.aim(
        "Maps at their default sizes",
        "memory",
        "MB",
        vec![map_megabytes(&pony)],
        128.0,
    );
}

/// Milliseconds from the start of the process to the first answer through it.
fn first_connection(lab: &Lab, launch: Launch) -> (f64, Pony) {
    let start = Instant::now();
    let pony = lab.start(launch);
    lab.client.enter(|| {
        let mut stream = TcpStream::connect((PROXY, PORT)).unwrap();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    });
    (start.elapsed().as_secs_f64() * 1e3, pony)
}

fn echo(lab: &Lab) {
    let listener = lab
        .target
        .enter(|| TcpListener::bind((TARGET, PORT)).unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() {
                drop(stream.write_all(&byte));
            }
        }
    });
}

/// What all maps of the guard take, as the kernel says.
fn map_megabytes(pony: &Pony) -> f64 {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", pony.id())).unwrap() {
        // A descriptor may be closed meanwhile.
        let Ok(info) = fs::read_to_string(entry.unwrap().path()) else {
            continue;
        };
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<f64>().ok()
        };
        if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
            maps.insert(id.to_bits(), bytes);
        }
    }
    assert!(!maps.is_empty(), "the daemon holds its maps");
    maps.values().sum::<f64>() / 1e6
}

const SECTION: &str = "From the start to the first connection served";
