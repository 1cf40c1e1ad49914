//! Banning and lifting: what is changed, who is told, what is logged.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hyper::StatusCode;
use pony_common::{addr::Addr16, time::Nanos};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::info;

use super::{
    problem::Problem,
    request::{BanRequest, LISTENER, LiftRequest},
    wire::{BanLine, Bans, Began, Lifted, date, seconds_left},
};
use crate::{
    policy::{Ban, BanList, Full, Policy},
    sys,
};

/// A listener as the desk knows it.
pub struct Post {
    pub name: Arc<str>,
    pub policy: Arc<Policy>,
}

/// Whoever is sent here is told when the guard has been told everything that holds now.
pub type Rounds = mpsc::Sender<oneshot::Sender<()>>;

/// See the module.
pub struct Desk {
    bans: Arc<BanList>,
    /// In the order of their numbers.
    posts: Vec<Post>,
    guard: Option<Rounds>,
}

impl Desk {
    /// For these listeners, which all ask this list. `guard` if there is one.
    pub fn new(bans: Arc<BanList>, posts: Vec<Post>, guard: Option<Rounds>) -> Self {
        Self { bans, posts, guard }
    }

    /// Removes the bans that have ended, and says so. To be called about once a second.
    pub fn expire(&self) {
        for ban in self.bans.expire(sys::now()) {
            self.log_end(&ban, "expired");
        }
    }

    pub(super) fn list(&self) -> Bans {
        let now = sys::now();
        let bans = self.bans.all(now);
        Bans {
            bans: bans.iter().map(|ban| self.line(ban, now)).collect(),
            max_bans: self.bans.most(),
        }
    }

    pub(super) async fn ban(&self, request: &BanRequest) -> Result<Began, Problem> {
        let listener = self.number(request.listener.as_deref())?;
        // What has ended takes no room.
        self.expire();
        let now = sys::now();
        let ban = Ban {
            address: request.address.into(),
            listener,
            until: until(request.length, now),
        };
        self.bans.add(ban).map_err(full)?;
        let posts = self.posts_of(&ban);
        let ended = posts.map(|post| post.policy.end(ban.address)).sum();
        let began = Began {
            ban: self.line(&ban, now),
            ended,
            warnings: self.exempt(&ban).into_iter().collect(),
        };
        let (listener, until) = (self.place(&ban), began.ban.until.as_deref());
        let until = until.unwrap_or("forever");
        info!(client_ip = %request.address, listener, until, ended, "Client banned");
        self.tell_guard().await;
        Ok(began)
    }

    pub(super) async fn lift(&self, request: &LiftRequest) -> Result<Lifted, Problem> {
        let listener = self.number(request.listener.as_deref())?;
        self.expire();
        let address = request.address.into();
        let lifted = self.bans.lift(address, listener);
        if lifted.is_empty() {
            return Err(self.not_banned(request, listener));
        }
        for ban in &lifted {
            self.log_end(ban, "lifted");
        }
        self.tell_guard().await;
        let now = sys::now();
        Ok(Lifted {
            lifted: lifted.iter().map(|ban| self.line(ban, now)).collect(),
        })
    }

    /// Waits until the guard does what the list says. It is not waited for for ever: what it does
    /// not know yet the daemon does.
    async fn tell_guard(&self) {
        let Some(guard) = &self.guard else { return };
        let (told, done) = oneshot::channel();
        if guard.send(told).await.is_ok() {
            drop(timeout(GUARD_TIME, done).await);
        }
    }

    fn number(&self, name: Option<&str>) -> Result<Option<u32>, Problem> {
        let Some(name) = name else { return Ok(None) };
        let mut numbered = (0..).zip(&self.posts);
        let found = numbered.find(|(_, post)| *post.name == *name);
        found.map(|(number, _)| Some(number)).ok_or_else(|| {
            let names: Vec<_> = self.posts.iter().map(|post| &*post.name).collect();
            let remedy = format!(
                "write one of: {}; or leave it out for all",
                names.join(", ")
            );
            Problem::new(StatusCode::NOT_FOUND, "is no listener", remedy).of(LISTENER, name)
        })
    }

    /// The listeners that a ban is for.
    fn posts_of(&self, ban: &Ban) -> impl Iterator<Item = &Post> {
        let listener = ban.listener;
        let numbered = (0..).zip(&self.posts);
        let here = numbered.filter(move |(number, _)| listener.is_none_or(|it| it == *number));
        here.map(|(_, post)| post)
    }

    /// Says where the ban does not concern its own address.
    fn exempt(&self, ban: &Ban) -> Option<String> {
        let address = ban.address.to_ip();
        let exempt = self.posts_of(ban);
        let exempt = exempt.filter(|post| post.policy.is_exempt(address));
        let names: Vec<_> = exempt.map(|post| &*post.name).collect();
        (!names.is_empty()).then(|| {
            let names = names.join(", ");
            format!(
                "{address} is exempt on {names}, and bans do not concern exempt clients: take it \
                 off the exempt list there"
            )
        })
    }

    fn not_banned(&self, request: &LiftRequest, listener: Option<u32>) -> Problem {
        let address = request.address;
        let now = sys::now();
        let posts = (0..).zip(&self.posts);
        let asked = posts.filter(|(number, _)| listener.is_none_or(|it| it == *number));
        let others = asked.flat_map(|(_, post)| post.policy.bans_of(address.into(), now));
        let remedy = match others.map(|ban| ban.address.to_ip()).next() {
            Some(other) if other == address => {
                "it is banned on all listeners: lift that ban without naming one".to_owned()
            }
            Some(other) => format!("the ban of {other} concerns it: lift that one"),
            None => "see who is banned with `pony bans`".to_owned(),
        };
        let missing = Problem::new(StatusCode::NOT_FOUND, "is not banned there", remedy);
        missing.of("address", address.to_string())
    }

    fn line(&self, ban: &Ban, now: Nanos) -> BanLine {
        let mut clients: Vec<_> = self
            .posts_of(ban)
            .map(|post| client(ban.address, post.policy.ipv6_prefix()))
            .collect();
        clients.sort_unstable();
        clients.dedup();
        BanLine {
            address: ban.address.to_ip(),
            clients,
            listener: ban.listener.map(|_| self.place(ban).to_owned()),
            until: date(ban.until, now),
            remaining_seconds: seconds_left(ban.until, now),
        }
    }

    /// The listener's name, or a word for all of them.
    fn place(&self, ban: &Ban) -> &str {
        let number = ban.listener.and_then(|number| usize::try_from(number).ok());
        let post = number.and_then(|number| self.posts.get(number));
        post.map_or("all", |post| &*post.name)
    }

    fn log_end(&self, ban: &Ban, reason: &str) {
        let listener = self.place(ban);
        info!(client_ip = %ban.address.to_ip(), listener, reason, "Ban ended");
    }
}

fn until(length: Option<Duration>, now: Nanos) -> Nanos {
    length.map_or(Nanos::MAX, |length| {
        now.saturating_add(Nanos::from_duration(length))
    })
}

fn full(Full { most }: Full) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        format!("there are {most} bans already, as many as there may be"),
        "lift some, put lasting ones on a denylist, or raise admin.max_bans",
    )
}

/// As `pony clients` shows them.
fn client(address: Addr16, ipv6_prefix: u8) -> String {
    match address.prefix(ipv6_prefix).to_ip() {
        IpAddr::V6(ip) if ipv6_prefix < 128 => format!("{ip}/{ipv6_prefix}"),
        ip => ip.to_string(),
    }
}

/// Far longer than the guard takes.
const GUARD_TIME: Duration = Duration::from_secs(2);
