//! What the kernel's verifier makes of the programs, and how much of it they may use.
//!
//! Needs root for the verifier; anybody else is told the size alone. Loads without attaching.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{Program, ProgramInfo},
};

use crate::{debian::is_root, step, workspace::Object};

/// What one program may use. Never a time: that is the machine's.
struct Budget {
    name: &'static str,
    /// Instructions after the kernel has removed what can't be reached.
    instructions: u32,
    /// Steps of the verifier, which gives up after a million.
    steps: u32,
}

const fn budgets(object: Object) -> &'static [Budget] {
    match object {
        Object::Guard => &GUARD,
        Object::Lanes => &LANES,
        Object::Ports => &PORTS,
    }
}

const GUARD: [Budget; 2] = [
    Budget {
        name: "xdp_guard",
        instructions: 6_500,
        steps: 300_000,
    },
    Budget {
        name: "tc_egress",
        instructions: 3_500,
        steps: 100_000,
    },
];

const LANES: [Budget; 2] = [
    Budget {
        name: "sk_verdict",
        instructions: 600,
        steps: 10_000,
    },
    Budget {
        name: "tcp_leave",
        instructions: 200,
        steps: 1_000,
    },
];

const PORTS: [Budget; 1] = [Budget {
    name: "sk_ports",
    instructions: 400,
    steps: 1_000,
}];

/// Has the kernel verify every program of an object, says what that takes, and fails where it is too much.
pub(super) fn check(object: Object, bytes: &[u8]) -> Result<()> {
    if !is_root() {
        let instructions = object_instructions(bytes)?;
        step::note(format_args!("{instructions} instructions in all programs"));
        step::note("what the verifier says of them: only root can ask it");
        return Ok(());
    }
    let mut ebpf = EbpfLoader::new()
        .override_global("AYA_LOG_LEVEL", &0_u8, false)
        .load(bytes)
        .context("the kernel refuses the maps of the programs")?;
    for budget in budgets(object) {
        let (info, time) = verify(&mut ebpf, budget.name)?;
        let instructions = info.size_translated().unwrap_or(0) / BYTES_PER_INSTRUCTION;
        let steps = info.verified_instruction_count().unwrap_or(0);
        step::note(format_args!(
            "{}: {instructions} instructions (at most {}), {steps} verifier steps (at most {}), \
             verified in {} ms",
            budget.name,
            budget.instructions,
            budget.steps,
            time.as_millis()
        ));
        ensure!(
            instructions <= budget.instructions && steps <= budget.steps,
            "{} is over its budget",
            budget.name
        );
    }
    let (function, bytes) = deepest(bytes)?;
    step::note(format_args!(
        "the largest stack frame: {bytes} bytes, of {function}"
    ));
    Ok(())
}

fn verify(ebpf: &mut Ebpf, name: &str) -> Result<(ProgramInfo, Duration)> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?;
    let start = Instant::now();
    let info = match program {
        Program::Xdp(xdp) => xdp.load().and_then(|()| xdp.info()),
        Program::SchedClassifier(classifier) => classifier.load().and_then(|()| classifier.info()),
        Program::SkSkb(sk_skb) => sk_skb.load().and_then(|()| sk_skb.info()),
        Program::SkLookup(lookup) => lookup.load().and_then(|()| lookup.info()),
        Program::Iter(walk) => walk
            .load("tcp", &Btf::from_sys_fs()?)
            .and_then(|()| walk.info()),
        _ => bail!("{name} is of a kind that nobody here has heard of"),
    };
    let info = info.with_context(|| format!("the verifier refuses {name}"))?;
    Ok((info, start.elapsed()))
}

fn object_instructions(object: &[u8]) -> Result<usize> {
    let object = aya_obj::Object::parse(object)?;
    let functions = object.functions.values();
    Ok(functions.map(|function| function.instructions.len()).sum())
}

/// The function with the largest stack frame, and its bytes. The kernel has 512 for a chain.
fn deepest(object: &[u8]) -> Result<(String, i16)> {
    let object = aya_obj::Object::parse(object)?;
    let frames = object.functions.values().map(|function| {
        let on_stack = function.instructions.iter().filter(|instruction| {
            let stores = instruction.dst_reg() == FRAME && STORE.contains(&(instruction.code & 7));
            let loads = instruction.src_reg() == FRAME && instruction.code & 7 == LOAD;
            stores || loads
        });
        let bytes = on_stack.map(|instruction| instruction.off.saturating_neg());
        (function.name.clone(), bytes.max().unwrap_or(0))
    });
    let deepest = frames.max_by_key(|(_, bytes)| *bytes);
    deepest.context("the object has no functions")
}

const BYTES_PER_INSTRUCTION: u32 = 8;
/// The register that points to the frame.
const FRAME: u8 = 10;
// Classes of instructions that touch memory.
const LOAD: u8 = 1;
const STORE: [u8; 2] = [2, 3];
