//! Frames from ever new sources: the programs of `pony-ebpf/src/bench.rs`, and how to aim them.

use std::{env, fs, net::Ipv4Addr};

use aya::{
    Ebpf, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::{Xdp, xdp::XdpMode},
};

/// The sources of a run: addresses that begin with those bits of `base` that are not in `mask`.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub(crate) base: Ipv4Addr,
    pub(crate) mask: u32,
}

/// The loaded programs.
pub(crate) struct Traffic(Ebpf);

/// Whether a program takes packets in several buffers.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Buffers {
    Several,
    One,
}

impl Traffic {
    pub(crate) fn load() -> Self {
        let path = env::var_os("PONY_BENCH_OBJECT").expect("run `cargo xtask bench guard`");
        let mut ebpf = Ebpf::load(&fs::read(path).unwrap()).unwrap();
        for (_, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into().unwrap();
            program.load().unwrap();
        }
        Self(ebpf)
    }

    /// Says what is drawn, and through which interface a flood goes.
    pub(crate) fn aim(&mut self, sources: Sources, interface: u32) {
        let mut aim = Array::<_, u32>::try_from(self.0.map_mut("AIM").unwrap()).unwrap();
        let fixed = u32::from(sources.base) & !sources.mask;
        for (at, value) in (0..).zip([fixed, sources.mask, interface]) {
            aim.set(at, value, 0).unwrap();
        }
    }

    /// Says which program judges what is drawn; `None`: one that does nothing.
    pub(crate) fn next(&mut self, program: Option<&Xdp>, buffers: Buffers) {
        let (map, nothing) = match buffers {
            Buffers::Several => ("NEXT", "nothing"),
            Buffers::One => ("NEXT_LINEAR", "nothing_linear"),
        };
        let fd = program.unwrap_or_else(|| self.program(nothing)).fd();
        let fd = fd.unwrap().try_clone().unwrap();
        let map = self.0.map_mut(map).unwrap();
        ProgramArray::try_from(map).unwrap().set(0, &fd, 0).unwrap();
    }

    /// Lets a program see all that comes in at an interface of this namespace, and pass it.
    pub(crate) fn attach_nothing(&mut self, interface: &str) {
        let program = self.0.program_mut("nothing").unwrap();
        let program: &mut Xdp = program.try_into().unwrap();
        program.attach(interface, XdpMode::Driver).unwrap();
    }

    /// The program that draws, and hands on.
    pub(crate) fn drawing(&self, buffers: Buffers) -> &Xdp {
        self.program(match buffers {
            Buffers::Several => "draw",
            Buffers::One => "draw_linear",
        })
    }

    /// Sends this many frames through the interface of the aim, as fast as that goes. Has to be
    /// called in the interface's namespace.
    pub(crate) fn flood(&self, frame: &[u8], count: u32) {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::default()
        };
        self.program("flood").test_run(options).unwrap();
    }

    fn program(&self, name: &str) -> &Xdp {
        self.0.program(name).unwrap().try_into().unwrap()
    }
}
