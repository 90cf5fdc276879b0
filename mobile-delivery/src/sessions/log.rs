//! The logs of tenants, as far as sessions of this process want them: what is new is read once for all of them, and kept for a while.
//!
//! ```text
//! commit here ----------------------------> tail (of one tenant) --> posts of the sessions it is for --> each takes its page
//! commit elsewhere --notice, or a tick--> read from the store --^
//! ```
//!
//! A session asks for what comes after its own place: of the tail while that reaches back so far, else of the store. So a slow one holds up nobody, and
//! what it does not take is not kept for it here.
//!
//! Nothing rests on being told: once a second the heads of all tenants that have sessions here are looked up.

mod tail;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use database::clock;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Sessions;
use super::post::Post;
use super::rows::given_of_log;
use super::tenure::Identity;
use crate::follow::NewEntry;
use crate::session::LogPage;
use crate::store::{Audience, Limit, Number, Recalled, Standing};
use tail::Tail;

/// Between two looks at what others have appended, when nobody has said so.
const TICK: Duration = Duration::from_secs(1);

/// Entries, and bytes of them, that are read at once.
const PAGE: Limit = Limit { messages: 256, bytes: 2 << 20 };

/// The logs of the tenants that have sessions here.
#[derive(Default)]
pub(super) struct Log {
    tenants: Mutex<HashMap<Box<str>, Tenant>>,
    rung: Notify,
}

struct Tenant {
    tail: Tail,
    listeners: HashMap<Box<str>, BTreeMap<Number, Arc<Post>>>,
}

impl Tenant {
    fn tell(&self, tag: &str, entry: i64) {
        self.listeners.get(tag).into_iter().flatten().for_each(|(_, post)| post.logged(entry));
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, identity: &Identity, post: &Arc<Post>, standing: &Standing) {
        let mut tenants = self.lock();
        let at = standing.last.unwrap_or(0).max(standing.heard);
        let new = || Tenant { tail: Tail::at(at), listeners: HashMap::new() };
        let tenant = tenants.entry(identity.tenant.clone()).or_insert_with(new);
        for (tag, _) in &standing.tags {
            let listeners = tenant.listeners.entry(tag.as_str().into()).or_default();
            listeners.insert(identity.number, post.clone());
        }
        // What came between the claim and this.
        let head = tenant.tail.head();
        if head > at {
            post.logged(head);
        }
        tenant.tail.known(at);
        if tenant.tail.is_behind() {
            self.rung.notify_one();
        }
    }

    fn leave(&self, identity: &Identity, post: &Arc<Post>, standing: &Standing) {
        let mut tenants = self.lock();
        let Some(tenant) = tenants.get_mut(&identity.tenant) else { return };
        for (tag, _) in &standing.tags {
            let Some(listeners) = tenant.listeners.get_mut(tag.as_str()) else { continue };
            // A newer session of the device may listen in its place.
            if listeners.get(&identity.number).is_some_and(|listener| Arc::ptr_eq(listener, post)) {
                listeners.remove(&identity.number);
            }
            if listeners.is_empty() {
                tenant.listeners.remove(tag.as_str());
            }
        }
        if tenant.listeners.is_empty() {
            tenants.remove(&identity.tenant);
        }
    }

    /// Entries that were committed here.
    pub(super) fn append(&self, entries: &[NewEntry]) {
        let mut behind = false;
        let mut tenants = self.lock();
        for NewEntry { tenant, entry } in entries {
            let Some(tenant) = tenants.get_mut(&**tenant) else { continue };
            match tenant.tail.next(entry) {
                true => tenant.tell(&entry.tag, entry.entry),
                false => behind |= tenant.tail.is_behind(),
            }
        }
        drop(tenants);
        if behind {
            self.rung.notify_one();
        }
    }

    /// Somebody says that a log reaches up to there.
    pub(super) fn reaches(&self, tenant: &str, entry: i64) {
        let mut tenants = self.lock();
        let Some(tenant) = tenants.get_mut(tenant) else { return };
        // Whatever is said causes a look at the store at most.
        tenant.tail.known(entry.min(tenant.tail.head() + 1));
        let behind = tenant.tail.is_behind();
        drop(tenants);
        if behind {
            self.rung.notify_one();
        }
    }

    pub(super) fn recall(&self, tenant: &str, entry: i64) {
        if let Some(tenant) = self.lock().get_mut(tenant) {
            tenant.tail.recall(entry);
            tenant.listeners.values().flatten().for_each(|(_, post)| post.recalled(entry));
        }
    }

    /// What there is after `after`, if it is kept here.
    fn page(&self, tenant: &str, after: i64, standing: &Standing, limit: Limit) -> Option<LogPage> {
        let page = self.lock().get(tenant)?.tail.page(after, &standing.tags, limit, clock::now())?;
        Some(LogPage {
            messages: page.entries.iter().map(|entry| given_of_log(entry)).collect(),
            more: page.more,
            through: page.through.unsigned_abs(),
        })
    }

    /// Whether there may be an entry for a tag, after the one it goes with, up to `cursor`: what is not kept may be one.
    fn may_have(&self, tenant: &str, tag: &(String, i64), cursor: i64) -> bool {
        let one = Limit { messages: 1, bytes: i64::MAX };
        let tenants = self.lock();
        let page = tenants.get(tenant).and_then(|tenant| tenant.tail.page(tag.1, std::slice::from_ref(tag), one, clock::now()));
        page.is_none_or(|page| page.entries.first().is_some_and(|entry| entry.entry <= cursor))
    }

    /// What is kept may have been withdrawn: it is read from the store when it is wanted.
    pub(super) fn forget(&self) {
        self.lock().values_mut().for_each(|tenant| tenant.tail.forget());
    }

    /// Tenants and up to where they are read, all or those that are behind.
    fn tenants(&self, behind: bool) -> Vec<(String, i64)> {
        let tenants = self.lock();
        let wanted = tenants.iter().filter(|(_, tenant)| !behind || tenant.tail.is_behind());
        wanted.map(|(name, tenant)| (name.to_string(), tenant.tail.head())).collect()
    }
}

/// A session that hears of what is logged for it, until it is dropped.
pub(crate) struct Listener {
    sessions: Sessions,
    identity: Arc<Identity>,
    post: Arc<Post>,
    standing: Standing,
}

impl Listener {
    pub(super) fn new(sessions: &Sessions, identity: &Arc<Identity>, post: &Arc<Post>, standing: Standing) -> Self {
        sessions.0.log.listen(identity, post, &standing);
        let before = post.goes_by(standing.roster, standing.rooms.clone());
        if before != standing.rooms {
            let left: Vec<String> = before.into_iter().filter(|room| !standing.rooms.contains(room)).collect();
            sessions.attendance_changed(&identity.tenant, &left);
            sessions.attendance_changed(&identity.tenant, &standing.rooms);
        }
        Self { sessions: sessions.clone(), identity: identity.clone(), post: post.clone(), standing }
    }

    /// Whether its device is in a group, as far as it knows.
    pub(super) fn is_in(&self, group: &str) -> bool {
        let tag = Audience::Group(group.to_owned()).tag();
        self.standing.tags.iter().any(|(own, _)| *own == tag)
    }

    /// By which number of its device's tags it goes.
    pub(super) fn roster(&self) -> i64 {
        self.standing.roster
    }

    /// What there is after `after`, if it is kept.
    pub(super) fn page(&self, after: i64, limit: Limit) -> Option<LogPage> {
        self.sessions.0.log.page(&self.identity.tenant, after, &self.standing, limit)
    }

    /// Whether something may have been passed over, by who was given everything up to `cursor` by the tags of this and not by those of `now`.
    pub(super) fn has_passed(&self, now: &Standing, cursor: i64) -> bool {
        let had = |tag: &str, since: i64| self.standing.tags.iter().any(|(had, at)| had == tag && *at <= since);
        let mut new = now.tags.iter().filter(|(tag, since)| !had(tag, *since) && *since < cursor);
        new.any(|new| self.sessions.0.log.may_have(&self.identity.tenant, new, cursor))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.sessions.0.log.leave(&self.identity, &self.post, &self.standing);
    }
}

impl Sessions {
    /// Reads what others have appended, until `over`.
    pub(super) async fn reads_logs(self, over: CancellationToken) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                () = self.0.log.rung.notified() => {}
                _ = tick.tick() => self.look_at_heads().await,
            }
            for (tenant, head) in self.0.log.tenants(true) {
                self.read_log(&tenant, head).await;
            }
        }
    }

    async fn look_at_heads(&self) {
        let tenants: Vec<String> = self.0.log.tenants(false).into_iter().map(|(tenant, _)| tenant).collect();
        if tenants.is_empty() {
            return;
        }
        match self.0.stores.log.heads(&tenants).await {
            Ok(heads) => {
                let mut tenants = self.0.log.lock();
                for (tenant, head) in heads {
                    if let Some(tenant) = tenants.get_mut(tenant.as_str()) {
                        tenant.tail.known(head);
                    }
                }
            }
            Err(error) => tracing::debug!(error = %error, "cannot look at the heads of logs; a later look does"),
        }
    }

    async fn read_log(&self, name: &str, mut head: i64) {
        loop {
            let read = match self.0.stores.log.tail(name, head, PAGE).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::debug!(error = %error, "cannot read a log; the next look does");
                    return;
                }
            };
            let entries: Vec<_> = read.entries.into_iter().map(Arc::new).collect();
            let mut tenants = self.0.log.lock();
            let Some(tenant) = tenants.get_mut(name) else { return };
            if tenant.tail.read(head, &entries, read.through) {
                entries.iter().for_each(|entry| tenant.tell(&entry.tag, entry.entry));
            }
            // At its end. What was said to be there and is not, is not waited for: whoever appends it says so again, and the tick looks in any case.
            if !read.more && tenant.tail.head() == read.through.max(head) {
                tenant.tail.is_all();
            }
            head = tenant.tail.head();
            if !tenant.tail.is_behind() {
                return;
            }
        }
    }

    /// An entry is withdrawn, here and elsewhere.
    pub(super) fn recall_entry(&self, recalled: &Recalled) {
        self.0.log.recall(&recalled.tenant, recalled.entry);
        self.0.telling.recalled(&recalled.tenant, recalled.entry);
    }
}
