//! Programs that make traffic for `cargo xtask bench`: every packet from another source.
//!
//! One packet repeated stays in the caches and flatters whatever judges it. `BPF_PROG_TEST_RUN`
//! gives a program the same frame again and again; these programs write a new source address into
//! it and hand it on. They judge nothing, and are no part of the guard.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::needless_pass_by_value,
        reason = "an action is a small number, a word of an address is cut out of it, and the \
                  macro makes the context and gives it away"
    )
)]

#[cfg(target_arch = "bpf")]
mod program;

#[cfg(target_arch = "bpf")]
mod bench {
    use aya_ebpf::{
        bindings::xdp_action,
        helpers::{bpf_get_prandom_u32, bpf_redirect},
        macros::{map, xdp},
        maps::{Array, ProgramArray},
        programs::XdpContext,
    };

    /// What is drawn and where it goes: the address that sources begin with, the bits of it that
    /// are drawn, and the interface that [`flood`] sends through. The benchmark writes, these
    /// programs read.
    #[map]
    static AIM: Array<u32> = Array::with_max_entries(3, 0);

    /// The program that [`draw`] hands its frames to. The benchmark writes.
    #[map]
    static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// The same for [`draw_linear`]: the kernel does not mix programs that take packets in several
    /// buffers with those that do not.
    #[map]
    static NEXT_LINEAR: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// Hands on a frame with a new source.
    #[xdp(frags)]
    fn draw(ctx: XdpContext) -> u32 {
        new_source(&ctx);
        // SAFETY: what comes after this program is given the same context.
        unsafe { NEXT.tail_call(&ctx, 0) };
        xdp_action::XDP_ABORTED
    }

    /// Hands on a frame with a new source, to a program that wants packets in one buffer.
    #[xdp]
    fn draw_linear(ctx: XdpContext) -> u32 {
        new_source(&ctx);
        // SAFETY: what comes after this program is given the same context.
        unsafe { NEXT_LINEAR.tail_call(&ctx, 0) };
        xdp_action::XDP_ABORTED
    }

    /// What the drawing costs by itself.
    #[xdp(frags)]
    fn nothing(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// What the drawing costs by itself, for a program that wants packets in one buffer.
    #[xdp]
    fn nothing_linear(_ctx: XdpContext) -> u32 {
        xdp_action::XDP_PASS
    }

    /// Sends a frame with a new source through an interface.
    #[xdp]
    fn flood(ctx: XdpContext) -> u32 {
        new_source(&ctx);
        match AIM.get(INTERFACE) {
            // SAFETY: the helper takes numbers only, and returns an action.
            Some(interface) => unsafe { bpf_redirect(*interface, 0) as u32 },
            None => xdp_action::XDP_ABORTED,
        }
    }

    /// Writes a new source into an IPv4 header without options, and its checksum.
    fn new_source(ctx: &XdpContext) {
        let (Some(base), Some(mask)) = (AIM.get(BASE), AIM.get(MASK)) else {
            return;
        };
        let header = ctx.data() + ETHERNET;
        if header + IPV4 > ctx.data_end() {
            return;
        }
        let words = header as *mut u16;
        // SAFETY: the helper only returns a number.
        let drawn = unsafe { bpf_get_prandom_u32() };
        let source = (*base | (drawn & *mask)).to_be();
        // SAFETY: ten words were just found to lie in the frame, and an IPv4 header after an
        // Ethernet header is aligned for them.
        unsafe {
            *words.add(6) = source as u16;
            *words.add(7) = (source >> 16) as u16;
            *words.add(5) = 0;
            let mut sum = 0;
            for at in 0..10 {
                sum += u32::from(*words.add(at));
            }
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            *words.add(5) = !(sum as u16);
        }
    }

    const BASE: u32 = 0;
    const MASK: u32 = 1;
    const INTERFACE: u32 = 2;
    const ETHERNET: usize = 14;
    const IPV4: usize = 20;
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
