//! What a proxy and the whole machine use: time of the cores, and memory.

use std::{fs, io};

use rustix::param::page_size;

use crate::{conversation::count, process::stat};

/// Seconds of cores so far.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// In the processes of the proxy.
    pub(crate) proxy: f64,
    /// In anything: also client, target, and what the kernel does in nobody's name.
    pub(crate) machine: f64,
}

/// Bytes in use.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// By the processes of the proxy; what they share is counted once.
    pub(crate) proxy: f64,
    /// By the kernel, for whoever: sockets, files, pipes, maps, stacks.
    pub(crate) kernel: f64,
    /// By all, but for the cache of files.
    pub(crate) machine: f64,
}

impl Cpu {
    pub(crate) fn now(proxy: &[u32]) -> io::Result<Self> {
        let mut ticks = 0.0;
        for id in proxy {
            // utime and stime, 14th and 15th of all fields.
            ticks += numbers(stat(*id)?.iter().skip(11).take(2));
        }
        let text = fs::read_to_string("/proc/stat")?;
        let cores = text.lines().next().unwrap_or_default();
        let fields: Vec<_> = cores.split_whitespace().skip(1).collect();
        // user, nice, system; not idle and iowait; irq, softirq; not steal.
        let busy = fields.iter().take(3).chain(fields.iter().skip(5).take(2));
        Ok(Self {
            proxy: ticks / TICKS,
            machine: numbers(busy) / TICKS,
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            proxy: self.proxy - earlier.proxy,
            machine: self.machine - earlier.machine,
        }
    }
}

impl Memory {
    pub(crate) fn now(proxy: &[u32]) -> io::Result<Self> {
        // Each core counts for itself, and adds it up only now and then. Not every kernel offers to
        // do so at once.
        drop(fs::write("/proc/sys/vm/stat_refresh", "1"));
        let mut processes = 0.0;
        for id in proxy {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            processes += field(&text, "Pss:")?;
        }
        let text = fs::read_to_string("/proc/meminfo")?;
        let mut kernel = 0.0;
        for name in [
            "Slab:",
            "KernelStack:",
            "PageTables:",
            "VmallocUsed:",
            "Percpu:",
        ] {
            kernel += field(&text, name)?;
        }
        Ok(Self {
            proxy: processes,
            kernel,
            machine: field(&text, "MemTotal:")? - free(&text)?,
        })
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            proxy: self.proxy - earlier.proxy,
            kernel: self.kernel - earlier.kernel,
            machine: self.machine - earlier.machine,
        }
    }
}

/// What is free or caches files. `MemAvailable` would not do: it leaves out the free pages that each
/// core keeps at hand, which are hundreds of megabytes where many come and go.
fn free(meminfo: &str) -> io::Result<f64> {
    let mut free = 0.0;
    for name in ["MemFree:", "Buffers:", "Cached:"] {
        free += field(meminfo, name)?;
    }
    let zones = fs::read_to_string("/proc/zoneinfo")?;
    let at_hand = zones
        .lines()
        .filter_map(|line| line.trim().strip_prefix("count:"));
    Ok(free + numbers(at_hand.map(str::trim)) * count(page_size()))
}

/// A field in bytes, of a file that has kilobytes.
fn field(text: &str, name: &str) -> io::Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map(|kilobytes| kilobytes * 1024.0)
        .ok_or_else(|| io::Error::other(format!("no {name}")))
}

fn numbers(fields: impl Iterator<Item = impl AsRef<str>>) -> f64 {
    fields
        .filter_map(|field| field.as_ref().parse::<f64>().ok())
        .sum()
}

/// In a second: what /proc shows has this unit on every Linux.
const TICKS: f64 = 100.0;
