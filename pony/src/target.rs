//! Where flows and sessions go: from a client and a configured target to a connected socket.
//!
//! Owns the choice of the target, name resolution, the address that the target sees, connecting, and
//! what a target is told before the first byte. Does not move bytes and knows no policy.

mod choose;
mod connect;
mod destinations;
mod header;
mod origin;
mod resolve;
mod routing;
mod source;

pub use choose::Targets;
pub use connect::{ConnectError, Dial};
pub use destinations::{DestinationError, Destinations};
pub use header::{UniqueIds, header, send_header};
pub use origin::Origin;
pub use resolve::{Addresses, ResolveError, Resolver};
pub use routing::{Answers, Ports, Routes, RoutingError, WayBack, answers, shown};
pub use source::{Claim, Claims, SourceError, try_out};
