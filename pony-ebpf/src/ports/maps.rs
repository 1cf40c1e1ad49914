//! Every map of the program that gives a listener many addresses and ports.
//!
//! The daemon fills them before the program is attached, and sets their sizes when it loads the
//! object: none is ever full.

use aya_ebpf::{
    Global,
    btf_maps::{Array, HashMap, SockMap},
    macros::btf_map,
};
use pony_common::layout::{listener::ListenerKey, span::Span};

/// Which addresses and ports belong to the listeners that have many. No two elements have any in
/// common.
///
/// The daemon writes; `sk_ports` reads.
#[btf_map]
pub(crate) static SPANS: Array<Span, 1> = Array::new();

/// What within [`SPANS`] belongs to sockets of ours that have one port. One on all addresses has
/// the wildcard of its family here. The value means nothing.
///
/// The daemon writes; `sk_ports` reads.
#[btf_map]
pub(crate) static HOLES: HashMap<ListenerKey, u8, 1> = HashMap::new();

/// The listening sockets, by the number that [`SPANS`] has for them: of a group that shares a port
/// one, among which and the others the kernel chooses.
///
/// The daemon inserts; `sk_ports` reads; the kernel removes a socket that is closed.
#[btf_map]
pub(crate) static LISTENING: SockMap<1> = SockMap::new();

/// How many [`SPANS`] there are. The daemon sets it when it loads the object.
#[unsafe(no_mangle)]
pub(crate) static SPAN_COUNT: Global<u32> = Global::new(1);
