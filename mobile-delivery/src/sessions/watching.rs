//! Rooms that sessions of this process watch: who is there, and what is signalled.
//!
//! ```text
//! a session comes or goes, here --> stale --\
//! elsewhere --notice--------------> stale ---+--> one look at the store for all that are stale --> what has changed --> those who watch
//! every 10 s --------------------------------/
//! ```
//!
//! Who is there is what the store says of sessions, at every look anew: nothing is counted up and down, so a process that dies, or a notice that is lost, costs [`ROUND`] and
//! no more. Signals go from one who watches to the others, and are kept nowhere: who is not there, or takes them too slowly, does not get them.

mod attendance;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::post::Post;
use super::publishing::refused;
use super::tenure::{Identity, Tenure};
use crate::http::refusals;
use crate::protocol::{Author, Present, ServerFrame, Signal};
use crate::sessions::rows::shown;
use crate::store::{Member, Number};
use attendance::Attendance;

/// From one look at a room to the next, however much comes and goes.
const PACE: Duration = Duration::from_millis(250);

/// Each room is looked at as often as this, whatever was heard.
const ROUND: Duration = Duration::from_secs(10);

/// Rooms in one look.
const TOGETHER: usize = 64;

/// By tenant, and by name.
type Rooms = HashMap<Box<str>, HashMap<Box<str>, Room>>;

/// The rooms that are watched here.
#[derive(Default)]
pub(super) struct Watched {
    tenants: Mutex<Rooms>,
    rung: Notify,
}

#[derive(Default)]
struct Room {
    watchers: BTreeMap<Number, Watching>,
    attendance: Attendance,
    looked: Option<Instant>,
    stale: bool,
}

/// A session that watches.
struct Watching {
    post: Arc<Post>,
    /// A look that began before this says nothing of it.
    since: Instant,
    /// It has been told who is there, and is told of changes alone.
    told: bool,
}

impl Room {
    /// It was not looked at for a while, or never.
    fn rests(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= PACE)
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some(ago) = self.looked.map(|looked| now.saturating_duration_since(looked)) else { return true };
        ago >= ROUND || (ago >= PACE && (self.stale || self.attendance.is_due(now)))
    }

    /// The store has said who was there at `now`; `None`: it was no room.
    fn saw(&mut self, group: &str, found: Option<&[Member]>, now: Instant) {
        let tell = |here, away, all| ServerFrame::Present(Arc::new(Present { group: group.to_owned(), all, here, away }));
        let refuse = |problem: &door::problem::Problem| {
            refused(None, Some(group.to_owned()), problem.code.as_str(), problem.detail.to_string(), None)
        };
        let Some(found) = found else {
            let frame = refuse(&refusals::not_a_room());
            self.watchers.retain(|_, watching| watching.since > now || !watching.post.tell_frame(frame.clone()));
            self.stale |= !self.watchers.is_empty();
            return;
        };
        let found: BTreeMap<Number, Author> = found.iter().map(|member| (member.number, shown(&member.author))).collect();
        let stranger = refuse(&refusals::not_a_member());
        self.watchers.retain(|number, watching| {
            found.contains_key(number) || watching.since > now || !watching.post.tell_frame(stranger.clone())
        });
        let there: BTreeSet<Number> = found.keys().copied().collect();
        let (here, away) = self.attendance.saw(found, now);
        let changes = (!here.is_empty() || !away.is_empty()).then(|| tell(here, away, false));
        let all = self.watchers.values().any(|watching| !watching.told).then(|| tell(self.attendance.all(), Vec::new(), true));
        for (_, watching) in self.watchers.iter_mut().filter(|(number, _)| there.contains(number)) {
            let frame = if watching.told { changes.as_ref() } else { all.as_ref() };
            // Who has no place for it is told all, later.
            watching.told = frame.is_none_or(|frame| watching.post.tell_frame(frame.clone()));
        }
        let heard = |(number, watching): (&Number, &Watching)| watching.told && there.contains(number);
        if !self.watchers.iter().all(heard) {
            self.stale = true;
        }
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Rooms> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Somebody has come to these rooms, or gone.
    pub(super) fn changed<'a>(&self, tenant: &str, groups: impl Iterator<Item = &'a str>) {
        let mut tenants = self.lock();
        let Some(rooms) = tenants.get_mut(tenant) else { return };
        for group in groups {
            if let Some(room) = rooms.get_mut(group) {
                room.stale = true;
                self.rung.notify_one();
            }
        }
    }

    fn join(&self, identity: &Identity, post: &Arc<Post>, group: &str) {
        let mut tenants = self.lock();
        let room = tenants.entry(identity.tenant.clone()).or_default().entry(group.into()).or_default();
        let watching = room.watchers.get(&identity.number);
        if watching.is_none_or(|watching| !Arc::ptr_eq(&watching.post, post)) {
            room.watchers.insert(identity.number, Watching { post: post.clone(), since: Instant::now(), told: false });
            room.stale = true;
            self.rung.notify_one();
        }
    }

    fn leave(&self, identity: &Identity, post: &Arc<Post>, group: &str) {
        let mut tenants = self.lock();
        let Some(rooms) = tenants.get_mut(&identity.tenant) else { return };
        if let Some(room) = rooms.get_mut(group) {
            // A newer session of the device may watch in its place.
            if room.watchers.get(&identity.number).is_some_and(|watching| Arc::ptr_eq(&watching.post, post)) {
                room.watchers.remove(&identity.number);
            }
            // One that was looked at just now stays for a moment, so that nobody has it looked at more often by coming and going.
            if room.watchers.is_empty() && room.rests(Instant::now()) {
                rooms.remove(group);
            }
        }
        if rooms.is_empty() {
            tenants.remove(&identity.tenant);
        }
    }

    /// Those to be looked at now, the longest waiting first. They are as of now: what comes meanwhile makes them stale again.
    fn due(&self, now: Instant) -> Vec<(String, String)> {
        let mut tenants = self.lock();
        tenants.retain(|_, rooms| {
            rooms.retain(|_, room| !room.watchers.is_empty() || !room.rests(now));
            !rooms.is_empty()
        });
        let all =
            tenants.iter_mut().flat_map(|(tenant, rooms)| rooms.iter_mut().map(move |(group, room)| (&**tenant, &**group, room)));
        let mut due: Vec<_> = all.filter(|(.., room)| !room.watchers.is_empty() && room.is_due(now)).collect();
        due.sort_unstable_by_key(|(.., room)| room.looked);
        let take = |(tenant, group, room): (&str, &str, &mut Room)| {
            (room.looked, room.stale) = (Some(now), false);
            (tenant.to_owned(), group.to_owned())
        };
        due.into_iter().take(TOGETHER).map(take).collect()
    }

    fn saw(&self, tenant: &str, group: &str, found: Option<&[Member]>, now: Instant) {
        if let Some(room) = self.lock().get_mut(tenant).and_then(|rooms| rooms.get_mut(group)) {
            room.saw(group, found, now);
        }
    }

    /// Whether this device watches the room.
    fn is_watched_by(&self, identity: &Identity, group: &str) -> bool {
        let tenants = self.lock();
        let room = tenants.get(&identity.tenant).and_then(|rooms| rooms.get(group));
        room.is_some_and(|room| room.watchers.get(&identity.number).is_some_and(|watching| watching.told))
    }

    /// Hands a signal to those who watch its room here, but not to who has made it.
    pub(super) fn signal(&self, tenant: &str, but: Option<Number>, signal: &Arc<Signal>) {
        let tenants = self.lock();
        let Some(room) = tenants.get(tenant).and_then(|rooms| rooms.get(signal.group.as_str())) else { return };
        let others = room.watchers.iter().filter(|(number, watching)| Some(**number) != but && watching.told);
        others.for_each(|(_, watching)| watching.post.signal(signal));
    }
}

/// What one session watches, until it is dropped.
pub(super) struct Watcher {
    sessions: Sessions,
    identity: Arc<Identity>,
    post: Arc<Post>,
    groups: Vec<String>,
}

impl Watcher {
    pub(super) fn new(tenure: &Tenure) -> Self {
        let (sessions, identity, post) = (tenure.sessions.clone(), tenure.identity.clone(), tenure.post.clone());
        Self { sessions, identity, post, groups: Vec::new() }
    }

    /// These from now on, and no others.
    pub(super) fn watch(&mut self, groups: Vec<String>) {
        let watched = &self.sessions.0.watched;
        let gone = self.groups.iter().filter(|group| !groups.contains(group));
        gone.for_each(|group| watched.leave(&self.identity, &self.post, group));
        groups.iter().for_each(|group| watched.join(&self.identity, &self.post, group));
        self.groups = groups;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.groups.iter().for_each(|group| self.sessions.0.watched.leave(&self.identity, &self.post, group));
    }
}

impl Sessions {
    /// Looks who is in rooms, until `over`.
    pub(super) async fn watches(self, over: CancellationToken) {
        let watched = &self.0.watched;
        let mut tick = interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                () = watched.rung.notified() => {}
                _ = tick.tick(), if !watched.is_empty() => {}
            }
            loop {
                let now = Instant::now();
                let due = watched.due(now);
                if due.is_empty() {
                    break;
                }
                match self.0.stores.groups.present(&due).await {
                    Ok(found) => {
                        let seen = due.iter().zip(found);
                        seen.for_each(|((tenant, group), found)| watched.saw(tenant, group, found.as_deref(), now));
                    }
                    Err(error) => {
                        tracing::debug!(error = %error, "cannot look who is in rooms; a later look does");
                        due.iter().for_each(|(tenant, group)| watched.changed(tenant, std::iter::once(group.as_str())));
                        tokio::time::sleep(PACE).await;
                        break;
                    }
                }
            }
        }
    }

    /// Somebody of these rooms has come or gone: whoever watches them looks, here and elsewhere.
    pub(super) fn attendance_changed(&self, tenant: &str, rooms: &[String]) {
        self.0.watched.changed(tenant, rooms.iter().map(String::as_str));
        rooms.iter().for_each(|room| self.0.telling.attendance(tenant, room));
    }

    /// Signals to those who watch a room, here and elsewhere; answers what the device is told if it does not watch it itself. Too many are dropped.
    pub(super) fn signal(&self, tenure: &Tenure, signal: Signal) -> Option<ServerFrame> {
        let own = &tenure.identity;
        if !self.0.watched.is_watched_by(own, &signal.group) {
            let detail =
                "signals go from those who watch a room to those who do: send `watch` first, and wait for `present`".to_owned();
            return Some(refused(None, Some(signal.group), "not-watched", detail, None));
        }
        let rooms = &self.0.rooms;
        if rooms.takes_of(own.number).is_ok() && rooms.takes_for(&own.tenant, &signal.group).is_ok() {
            let from = Some(Author { device: own.id.to_string(), user: own.user.to_string() });
            let signal = Arc::new(Signal { from, ..signal });
            self.0.watched.signal(&own.tenant, Some(own.number), &signal);
            self.0.telling.signal(&own.tenant, signal);
            self.0.metrics.signals.inc();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: i64) -> Identity {
        let text = |text: &str| text.to_owned().into_boxed_str();
        Identity { number: Number(number), tenant: text("acme"), id: text(&format!("d{number}")), user: text("ann") }
    }

    fn member(number: i64) -> Member {
        let author = crate::store::Author { device: format!("d{number}"), user: "ann".to_owned() };
        Member { number: Number(number), author, present: true }
    }

    fn names(due: &[(String, String)]) -> Vec<&str> {
        due.iter().map(|(_, group)| group.as_str()).collect()
    }

    #[test]
    fn who_came_after_a_look_began_is_judged_by_the_next_one() {
        let (watched, post, begun) = (Watched::default(), Arc::new(Post::default()), Instant::now());
        watched.join(&identity(1), &post, "room");
        for found in [Some(&[][..]), None] {
            watched.saw("acme", "room", found, begun);
            assert!(watched.lock()["acme"]["room"].watchers.contains_key(&Number(1)), "{found:?}");
        }
        let later = Instant::now() + PACE;
        assert_eq!(names(&watched.due(later)), ["room"], "it is looked at again");
        watched.saw("acme", "room", Some(&[member(1)]), later);
        assert!(watched.is_watched_by(&identity(1), "room"));
        watched.saw("acme", "room", Some(&[]), later + PACE);
        assert!(!watched.is_watched_by(&identity(1), "room"), "it is not in the room");
    }

    #[test]
    fn nobody_has_a_room_looked_at_more_often_by_coming_and_going() {
        let (watched, post, own) = (Watched::default(), Arc::new(Post::default()), identity(1));
        watched.join(&own, &post, "room");
        let now = Instant::now();
        assert_eq!(names(&watched.due(now)), ["room"]);
        for _ in 0..10 {
            watched.leave(&own, &post, "room");
            watched.join(&own, &post, "room");
            assert_eq!(names(&watched.due(now + PACE / 2)), [""; 0]);
        }
        watched.leave(&own, &post, "room");
        assert_eq!(names(&watched.due(now + PACE)), [""; 0], "nobody watches it");
        assert!(watched.is_empty());
    }

    #[test]
    fn those_that_wait_longest_are_looked_at_first() {
        let (watched, post, own) = (Watched::default(), Arc::new(Post::default()), identity(1));
        let all: BTreeSet<String> = (0..TOGETHER * 3).map(|n| format!("r{n}")).collect();
        all.iter().for_each(|room| watched.join(&own, &post, room));
        let (mut looked, mut now) = (BTreeSet::new(), Instant::now());
        for _ in 0..3 {
            looked.extend(watched.due(now).into_iter().map(|(_, group)| group));
            now += PACE;
            // All have something new, those looked at just now too.
            watched.changed("acme", all.iter().map(String::as_str));
        }
        assert_eq!(looked, all, "each has had its turn");
    }
}
