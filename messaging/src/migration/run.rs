//! One run: from where the broker says it has come to, to the end.

use std::time::Duration;

use broker_topology::{
    Arguments, Binding, LiveBinding, QueueKind, Stage, holding_arguments, limits, loss, rebound, stage, unfit,
};
use tokio::time::Instant;

use super::broken::{Broken, Fault};
use super::carry::{Carrier, IN_HAND, in_hand};
use super::session::Session;
use super::{Doing, LiveQueue, Migrated, Migration, MigrationError, Observer, Progress, Seen};
use crate::connection::Link;
use crate::publisher::Publisher;

/// How long to wait for a message before looking around.
const GLANCE: Duration = Duration::from_millis(250);

/// Between two things said, and between two looks at a queue that comes to rest.
const PACE: Duration = Duration::from_secs(1);

/// How long the broker may take to tell the first figures of a queue; it makes them every 5 s unless configured.
const FIGURES: Duration = Duration::from_secs(90);

/// How old what RabbitMQ tells of messages without an ack may be: twice its interval of 5 s.
const STALE: Duration = Duration::from_secs(10);

/// How often one run may collect a queue or make it: more often only when somebody else makes it too, with other arguments.
const TURNS: u32 = 10;

/// How long the broker keeps a queue that was made to see whether it can be, when nobody deletes it. In milliseconds.
const TRIAL: i64 = 60_000;

/// Makes one queue anew, or goes on with it. `say` is told how it goes.
///
/// # Errors
/// As [`MigrationError`]. Calling again goes on, whatever happened.
pub async fn migrate(
    link: &Link,
    publisher: &Publisher,
    observer: &dyn Observer,
    migration: &Migration,
    say: &(dyn Fn(&Progress) + Sync),
) -> Result<Migrated, MigrationError> {
    let failed = |fault: Fault| MigrationError::Failed(fault.to_string());
    let lock = format!("{}.lock", migration.holding);
    let mut session = Session::open(link).await.map_err(failed)?;
    if !session.lock(&lock).await.map_err(failed)? {
        return Err(MigrationError::Busy(migration.queue.name.clone()));
    }
    let done = Migrated { queue: migration.queue.name.clone(), changes: Vec::new(), collected: 0, given_back: 0 };
    let begun = Instant::now();
    let mut run = Run { session, publisher, observer, migration, say, said: None, begun, changed: false, done };
    let ended = run.drive().await;
    // With the connection it goes too.
    let _ = run.session.delete(&lock).await;
    ended.map(|()| run.done)
}

/// What is to be done, and what there is, without a hand on anything.
///
/// # Errors
/// A sentence for people.
pub async fn see(observer: &dyn Observer, migration: &Migration) -> Result<Seen, String> {
    let live = observer.queue(&migration.queue.name).await?;
    let held = observer.queue(&migration.holding).await?;
    let (mut desired, mut found) = (migration.queue.arguments(), live.as_ref().map(|live| live.arguments.clone()));
    if let (Some(live), Some(found)) = (&live, &mut found)
        && !live.durable
    {
        desired.insert("durable".to_owned(), true.into());
        found.insert("durable".to_owned(), false.into());
    }
    let stage = stage(&desired, found.as_ref(), held.is_some());
    let loss = match stage {
        Stage::Collect(_) | Stage::Create => {
            // Of one that is gone its time to live was looked at before it went.
            let before = live.clone().unwrap_or_else(|| LiveQueue { arguments: desired.clone(), ..LiveQueue::default() });
            let held = held.clone().unwrap_or_default();
            let policy = before.policy.unwrap_or_default();
            loss(&desired, &before.arguments, &policy, before.messages + held.messages, before.bytes + held.bytes)
        }
        Stage::Done | Stage::Absent | Stage::GiveBack => None,
    };
    Ok(Seen { live, held, stage, loss })
}

/// What to do about a queue that would not keep all.
fn refused(loss: &str) -> String {
    format!("{loss}: raise it, take messages out first, or say --accept-loss")
}

struct Run<'a> {
    session: Session,
    publisher: &'a Publisher,
    observer: &'a dyn Observer,
    migration: &'a Migration,
    say: &'a (dyn Fn(&Progress) + Sync),
    said: Option<(Doing, Instant)>,
    begun: Instant,
    /// Whether anything was changed on the broker, by this run or one before.
    changed: bool,
    done: Migrated,
}

/// Messages go from one queue to another.
#[derive(Clone, Copy)]
struct Way<'a> {
    from: &'a str,
    to: &'a str,
    back: bool,
    /// Whether `to` is the queue as it should be, and gets the bindings that it should have.
    made: bool,
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<(), MigrationError> {
        let until = Instant::now() + self.migration.timeout;
        let mut turns = 0;
        loop {
            let Seen { live, held, stage, loss } = self.seen().await.map_err(|fault| self.broke_off(&fault))?;
            turns += u32::from(matches!(stage, Stage::Collect(_) | Stage::Create));
            // Figures of both queues may show a message twice. What this run collects it counts itself, before the queue goes.
            let once = live.is_none() || held.is_none();
            let loss = loss.filter(|_| once && turns == 1 && !self.migration.accept_loss);
            let step = match stage {
                // An exchange may be left of a run that died.
                Stage::Done => {
                    let tidied = self.session.delete_exchange(&self.migration.holding).await;
                    return tidied.map_err(|fault| self.broke_off(&fault));
                }
                Stage::Absent => return Err(MigrationError::Absent(self.migration.queue.name.clone())),
                Stage::Collect(_) | Stage::Create if turns > TURNS => {
                    let why = "somebody else declares it again and again with other arguments: change their declaration";
                    return Err(self.broke_off(&Fault::new(why)));
                }
                Stage::Collect(_) | Stage::Create if loss.is_some() => Err(Broken::Unfit(refused(&loss.unwrap_or_default()))),
                Stage::Collect(changes) => {
                    self.done.changes = changes.iter().map(ToString::to_string).collect();
                    self.collect(&live.unwrap_or_default(), until).await
                }
                Stage::Create => self.create().await.map_err(Broken::from),
                Stage::GiveBack => self.give_back(Instant::now() + self.migration.timeout, true).await.map_err(Broken::for_good),
            };
            match step {
                Ok(()) => {}
                Err(Broken::Fault(fault)) => return Err(self.broke_off(&fault)),
                Err(Broken::Unfit(why)) if self.changed => return Err(self.broke_off(&Fault::new(why))),
                Err(Broken::Unfit(why)) => {
                    return Err(MigrationError::Unfit { queue: self.migration.queue.name.clone(), why });
                }
                Err(Broken::Late(why)) => return Err(self.put_back(why).await),
            }
        }
    }

    /// How far it has come.
    async fn seen(&mut self) -> Result<Seen, Fault> {
        let seen = see(self.observer, self.migration).await.map_err(Fault::new)?;
        self.changed |= seen.held.is_some();
        Ok(seen)
    }

    /// Until the queue is gone and all its messages are held.
    async fn collect(&mut self, live: &LiveQueue, until: Instant) -> Result<(), Broken> {
        let Migration { queue, holding, .. } = self.migration;
        self.tell(Doing::Collecting, String::new);
        self.fits(live).await?;
        self.can_be_made().await?;
        let policy = self.policy(&queue.name).await?;
        if self.observe(holding).await?.is_none() {
            self.session.declare(holding, &holding_arguments(&queue.name, &live.arguments, &policy)).await?;
            self.changed = true;
            crate::crash_point!("M1");
        }
        self.holds_all().await?;
        let way = Way { from: &queue.name, to: holding, back: false, made: false };
        self.across(way, live, Doing::Collecting, Doing::Settling, until).await
    }

    /// What policies set for a queue. Its figures come some seconds after it.
    async fn policy(&self, queue: &str) -> Result<Arguments, Broken> {
        let until = Instant::now() + FIGURES;
        loop {
            match self.observe(queue).await?.and_then(|live| live.policy) {
                Some(policy) => return Ok(policy),
                None if Instant::now() > until => {
                    return Err(Broken::Unfit(format!(
                        "the management API tells no figures of `{queue}`: turn its statistics on"
                    )));
                }
                None => tokio::time::sleep(PACE).await,
            }
        }
    }

    /// Whether no policy is for the holding queue.
    async fn holds_all(&mut self) -> Result<(), Broken> {
        let holding = &self.migration.holding;
        let why = match self.policy(holding).await {
            Ok(policy) => match limits(&policy)[..] {
                [] => return Ok(()),
                ref limits => {
                    let limits = limits.join(", ");
                    format!("a policy sets {limits} for its holding queue `{holding}`: let its pattern leave that name out")
                }
            },
            Err(Broken::Unfit(why)) => why,
            Err(broken) => return Err(broken),
        };
        // It holds nothing yet, unless a run before put something there.
        if self.session.look(holding).await?.is_some_and(|(ready, _)| ready == 0) && self.bindings(holding).await?.is_empty() {
            self.session.delete(holding).await?;
            self.changed = false;
        }
        Err(Broken::Unfit(why))
    }

    /// Whether it can be emptied at all.
    async fn fits(&mut self, live: &LiveQueue) -> Result<(), Broken> {
        let queue = &self.migration.queue.name;
        let consumers = self.session.look(queue).await?.map_or(0, |(_, consumers)| consumers);
        let why = match unfit(&live.arguments, consumers) {
            Some(why) => why,
            None if live.exclusive => "it belongs to one connection and goes with it",
            None if live.auto_delete => "it goes with its last consumer, and is made by the next",
            None => {
                let again = self.bindings(queue).await?;
                return again.iter().try_for_each(|binding| rebound(binding, queue).map(drop)).map_err(Broken::Unfit);
            }
        };
        Err(Broken::Unfit(why.to_owned()))
    }

    /// Whether the broker makes a queue with these arguments. Seen before the one that is there goes, by another that goes at once.
    async fn can_be_made(&mut self) -> Result<(), Broken> {
        let Migration { queue, holding, .. } = self.migration;
        let trial = format!("{holding}.new");
        let mut arguments = queue.arguments();
        if queue.kind != QueueKind::Stream {
            arguments.entry("x-expires".to_owned()).or_insert_with(|| TRIAL.into());
        }
        // One that a killed run left may have other arguments.
        self.session.delete(&trial).await?;
        match self.session.declare(&trial, &arguments).await {
            Err(fault) if fault.is_precondition() => Err(Broken::Unfit(format!(
                "one with the arguments it should have cannot be made ({fault}): mend what that names"
            ))),
            Err(fault) => Err(fault.into()),
            Ok(()) => Ok(self.session.delete(&trial).await?),
        }
    }

    /// Whether the queue will keep all that is held now that nothing more comes from the old one.
    async fn keeps_all(&mut self, live: &LiveQueue) -> Result<(), Broken> {
        let Migration { queue, holding, .. } = self.migration;
        let messages = u64::from(self.ready(holding).await?);
        let bytes = self.observe(holding).await?.map_or(0, |held| held.bytes);
        let policy = self.policy(&queue.name).await?;
        match loss(&queue.arguments(), &live.arguments, &policy, messages, bytes) {
            Some(loss) if !self.migration.accept_loss => Err(Broken::Late(refused(&loss))),
            _ => Ok(()),
        }
    }

    async fn create(&mut self) -> Result<(), Fault> {
        let queue = &self.migration.queue;
        self.tell(Doing::Creating, String::new);
        match self.session.declare(&queue.name, &queue.arguments()).await {
            Err(fault) if fault.is_precondition() => match self.session.look(&queue.name).await? {
                // Somebody was faster, with other arguments: it is collected again.
                Some(_) => Ok(()),
                None => Err(fault),
            },
            made => {
                crate::crash_point!("M7");
                made
            }
        }
    }

    /// Until the queue, which is `made` anew or the old one, has all that was held, and nothing is held any more.
    async fn give_back(&mut self, until: Instant, made: bool) -> Result<(), Broken> {
        let Migration { queue, holding, .. } = self.migration;
        let held = self.observe(holding).await?.unwrap_or_default();
        let way = Way { from: holding, to: &queue.name, back: true, made };
        self.across(way, &held, Doing::GivingBack, Doing::Closing, until).await?;
        crate::crash_point!("M12");
        self.session.delete_exchange(holding).await.map_err(Broken::from)
    }

    /// Moves all of a queue, its bindings and then itself out of the way.
    async fn across(
        &mut self,
        way: Way<'_>,
        live: &LiveQueue,
        moving: Doing,
        settling: Doing,
        until: Instant,
    ) -> Result<(), Broken> {
        let exchange = self.migration.holding.as_str();
        let through = Binding::to_queue(exchange, way.to, "");
        self.session.declare_fanout(exchange).await?;
        self.session.bind(way.to, &through).await?;
        self.session.unbind(way.from, &through).await?;
        let in_hand = in_hand(live.messages, live.bytes);
        let mut carrier = Carrier::open(self.session.live(), self.publisher, way.from, exchange, in_hand, way.back).await?;
        let moved = async {
            self.catch_up(way, &mut carrier, moving, until).await?;
            self.switch(way).await?;
            self.settle(way, &mut carrier, settling, until).await?;
            if way.back { Ok(()) } else { self.keeps_all(live).await }
        };
        if let Err(broken) = moved.await {
            carrier.close().await;
            return Err(broken);
        }
        if way.back {
            crate::crash_point!("M11");
        } else {
            crate::crash_point!("M5");
        }
        // Still subscribed: what comes to it up to its end is in hand. So too where the answer is what is missing.
        let deleted = self.session.delete(way.from).await;
        let rest = carrier.rest(self.migration.timeout).await?;
        self.count(way, rest);
        deleted?;
        if !way.back {
            crate::crash_point!("M6");
        }
        Ok(())
    }

    /// Until nothing is ready any more, so that what is routed elsewhere from now on comes after what was here before.
    async fn catch_up(&mut self, way: Way<'_>, carrier: &mut Carrier, doing: Doing, until: Instant) -> Result<(), Broken> {
        loop {
            let moved = carrier.step(GLANCE, until).await?;
            self.count(way, moved);
            let due = self.said.is_none_or(|(said, at)| said != doing || at.elapsed() > PACE);
            if moved == usize::from(IN_HAND) && !due {
                continue;
            }
            let ready = self.ready(way.from).await?;
            if ready == 0 {
                return Ok(());
            }
            self.tell(doing, || format!("{ready} left"));
            if Instant::now() > until {
                return Err(Broken::Late(format!(
                    "{ready} messages are left in `{}`, and more come as fast as they are moved: give it more time with --timeout, \
                     or try again when less comes",
                    way.from
                )));
            }
        }
    }

    /// What is routed from now on goes to the other queue. Bound before unbound: nothing is unroutable, and what is routed between the
    /// two comes twice.
    async fn switch(&mut self, way: Way<'_>) -> Result<(), Broken> {
        let bindings = self.bindings(way.from).await?;
        for binding in &bindings {
            self.session.bind(way.to, &rebound(binding, way.to).map_err(Broken::Late)?).await?;
        }
        for binding in self.migration.bindings.iter().filter(|_| way.made) {
            // What its configuration gives it and no exchange is there for, `apply` makes.
            match self.session.bind(way.to, binding).await {
                Err(fault) if !fault.is_not_found() => return Err(fault.into()),
                _ => {}
            }
        }
        if way.back {
            crate::crash_point!("M9");
        } else {
            crate::crash_point!("M3");
        }
        for binding in &bindings {
            // By AMQP one with arguments is found only by who knows how each number was spelt.
            match binding.arguments.is_empty() {
                true => self.session.unbind(way.from, &Binding::to_queue(&binding.source, way.from, &binding.key)).await?,
                false => self.observer.unbind(binding).await.map_err(Fault::new)?,
            }
        }
        if way.back {
            crate::crash_point!("M10");
        } else {
            crate::crash_point!("M4");
        }
        Ok(())
    }

    /// Until, for as long as asked, nothing came to a queue that is unbound, and then nothing of it is elsewhere.
    ///
    /// That nothing is held elsewhere is read from statistics; they are no older than the rest, so they are of a time when nothing could be
    /// handed out any more.
    async fn settle(&mut self, way: Way<'_>, carrier: &mut Carrier, doing: Doing, until: Instant) -> Result<(), Broken> {
        let rest = self.migration.settle.max(STALE);
        let mut since = Instant::now();
        let mut looked: Option<Instant> = None;
        let mut came = 0;
        loop {
            let moved = carrier.step(GLANCE, until).await?;
            self.count(way, moved);
            came += moved;
            if moved > 0 {
                since = Instant::now();
            }
            if looked.is_some_and(|at| at.elapsed() < PACE) {
                continue;
            }
            looked = Some(Instant::now());
            // Whoever declares a topology, a hub that starts for one, binds it again.
            if !self.bindings(way.from).await?.is_empty() {
                self.switch(way).await?;
                since = Instant::now();
            }
            if self.ready(way.from).await? > 0 {
                since = Instant::now();
            }
            let rested = since.elapsed();
            let held = self.observe(way.from).await?.and_then(|live| live.held);
            if rested >= rest && held == Some(0) {
                return Ok(());
            }
            let note = match held {
                Some(held) if rested >= rest => {
                    format!("{held} messages are with consumers without an ack, or dead letters that their target has not taken")
                }
                None if rested >= rest => "the management API tells no figures yet".to_owned(),
                _ => format!("at rest for {} s of {} s", rested.as_secs(), rest.as_secs()),
            };
            self.tell(doing, || note.clone());
            if Instant::now() > until {
                return Err(Broken::Late(match rested >= rest {
                    true => {
                        format!("{note}: stop its consumers, mend what it dead-letters to, or give it more time with --timeout")
                    }
                    false if came == 0 => format!("`{}` had no time to come to rest: give it more with --timeout", way.from),
                    false => format!(
                        "messages go on coming to `{}` ({came} since it was unbound): somebody publishes to it by its name, through \
                         the default exchange, and must be stopped first",
                        way.from
                    ),
                }));
            }
        }
    }

    /// The time is up. Where the queue is still there, all goes back to it.
    async fn put_back(&mut self, why: String) -> MigrationError {
        let until = Instant::now() + self.migration.timeout;
        if !matches!(self.session.look(&self.migration.queue.name).await, Ok(Some(_))) {
            return self.broke_off(&Fault::new(why));
        }
        let after = Duration::from_secs(self.begun.elapsed().as_secs());
        match self.give_back(until, false).await {
            Ok(()) => MigrationError::GaveUp { queue: self.migration.queue.name.clone(), why, after },
            Err(broken) => self.broke_off(&Fault::new(format!("{why}; putting it back, {broken}"))),
        }
    }

    fn broke_off(&self, fault: &Fault) -> MigrationError {
        if !self.changed {
            return MigrationError::Failed(fault.to_string());
        }
        let Migration { queue, holding, .. } = self.migration;
        MigrationError::BrokeOff { queue: queue.name.clone(), holding: holding.clone(), why: fault.to_string() }
    }

    async fn observe(&self, queue: &str) -> Result<Option<LiveQueue>, Fault> {
        self.observer.queue(queue).await.map_err(Fault::new)
    }

    /// Those of a queue, without the one that this run goes through.
    async fn bindings(&self, queue: &str) -> Result<Vec<LiveBinding>, Fault> {
        let bindings = self.observer.bindings(queue).await.map_err(Fault::new)?;
        Ok(bindings.into_iter().filter(|binding| binding.source != self.migration.holding).collect())
    }

    async fn ready(&mut self, queue: &str) -> Result<u32, Fault> {
        let look = self.session.look(queue).await?;
        look.map(|(ready, _)| ready).ok_or_else(|| Fault::new(format!("the queue `{queue}` was deleted by somebody else")))
    }

    fn count(&mut self, way: Way<'_>, moved: usize) {
        let count = if way.back { &mut self.done.given_back } else { &mut self.done.collected };
        *count += moved as u64;
    }

    fn tell(&mut self, doing: Doing, note: impl FnOnce() -> String) {
        if self.said.is_some_and(|(said, at)| said == doing && at.elapsed() < 2 * PACE) {
            return;
        }
        self.said = Some((doing, Instant::now()));
        let moved = match doing {
            Doing::Collecting | Doing::Settling | Doing::Creating => self.done.collected,
            Doing::GivingBack | Doing::Closing => self.done.given_back,
        };
        (self.say)(&Progress { doing, moved, note: note() });
    }
}
