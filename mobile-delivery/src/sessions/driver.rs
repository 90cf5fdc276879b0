//! One connection: a task that has the session, its lane and its wire, and does what the session wants done.
//!
//! Everything that waits is waited for in one place ([`Driver::next`]); what is asked of others is asked there too, one question of each
//! sort at a time. So a session holds no queue of its own, and what it may hold is bounded by its window.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use door::current::Current;
use futures::future::BoxFuture;
use messaging::devices as lanes;
use tokio::time::Sleep;

use super::Sessions;
use super::asking::Asking;
use super::deliveries::Deliveries;
use super::listening::{Answer, Listening};
use super::opening::{Bearer, LaneState, Opened, Refused, refused};
use super::post::{Berth, News, Post};
use super::publishing::{Publishing, of_problem, told};
use super::tenure::Tenure;
use super::watching::Watcher;
use super::wire::{Broken, Heard, Wire};
use crate::protocol::{Close, GoAway, ServerFrame};
use crate::session::{Action, Claimed, Event, Phase, Session};

/// How long a device whose session is over may take for what was written before.
const LAST: Duration = Duration::from_secs(1);

/// Frames in one second that are taken of one device.
const FRAMES: u32 = 2000;

pub(super) struct Driver<W> {
    sessions: Sessions,
    wire: W,
    session: Session,
    post: Arc<Post>,
    bearer: Option<Bearer>,
    current: Option<Current>,
    timer: Pin<Box<Sleep>>,
    armed: bool,
    opening: Option<BoxFuture<'static, Result<Opened, Refused>>>,
    /// From the claim on.
    tenure: Option<Tenure>,
    asking: Asking,
    listening: Listening,
    publishing: Publishing,
    watcher: Option<Box<Watcher>>,
    lane: LaneState,
    deliveries: Deliveries,
    prefetch: u16,
    /// Since when frames are counted, and how many there were.
    pace: (Instant, u32),
    /// How it ended, if not by a broken connection.
    closed: Option<Close>,
}

/// What happened.
enum Happened {
    Heard(Heard),
    News(News),
    Lane(Option<lanes::Event>),
    Attached(lanes::Attachment),
    Opened(Box<Result<Opened, Refused>>),
    Leaving,
    Answered(Event),
    Listened(Answer),
    Published(Box<ServerFrame>),
    Timer,
}

impl<W: Wire> Driver<W> {
    pub(super) fn new(sessions: Sessions, wire: W, bearer: Option<Bearer>, current: Option<Current>) -> Self {
        let now = Instant::now();
        Self {
            session: Session::new(sessions.0.limits.clone(), now),
            wire,
            post: Arc::default(),
            bearer,
            current,
            timer: Box::pin(tokio::time::sleep_until(now.into())),
            armed: true,
            opening: None,
            tenure: None,
            asking: Asking::new(sessions.clone()),
            listening: Listening::new(sessions.clone()),
            publishing: Publishing::default(),
            watcher: None,
            lane: LaneState::None,
            deliveries: Deliveries::default(),
            prefetch: 1,
            pace: (now, 0),
            closed: None,
            sessions,
        }
    }

    /// Runs the session to its end.
    pub(super) async fn run(&mut self) {
        while self.session.phase() != Phase::Closed {
            let happened = self.next().await;
            // Apart, so that a session that waits holds nothing of what it does when something happens.
            Box::pin(self.go_on(happened)).await;
        }
    }

    async fn go_on(&mut self, happened: Happened) {
        let mut events = self.take(happened);
        while let Some(event) = events.pop_front() {
            let actions = self.session.on(event, Instant::now());
            // Before it is told: who is given a message may ack it by a request at once.
            self.tell_how_it_stands();
            if self.act(actions, &mut events).await.is_err() {
                events.push_front(Event::Gone);
            }
        }
        self.deliveries.ack_strays(&mut self.lane).await;
        self.asking.go_on(self.tenure.as_ref());
    }

    async fn next(&mut self) -> Happened {
        let Self { wire, post, timer, armed, opening, asking, listening, publishing, lane, tenure, sessions, .. } = self;
        tokio::select! {
            biased;
            news = post.next() => Happened::News(news),
            opened = wanted(opening) => Happened::Opened(Box::new(opened)),
            // Who has a device is told with all the others.
            () = sessions.leaving(), if tenure.is_none() => Happened::Leaving,
            answered = asking.next() => Happened::Answered(answered),
            listened = listening.next() => Happened::Listened(listened),
            decided = publishing.next() => Happened::Published(Box::new(told(sessions, decided))),
            happened = lane_next(lane) => happened,
            heard = wire.hear() => Happened::Heard(heard),
            () = timer.as_mut(), if *armed => Happened::Timer,
        }
    }

    /// What the session is to hear of it.
    fn take(&mut self, happened: Happened) -> VecDeque<Event> {
        let mut events = VecDeque::new();
        match happened {
            Happened::Heard(Heard::Frame(_)) if self.is_flood() => {
                let detail = format!("more than {FRAMES} frames in a second: gather acks");
                events.push_back(Event::End { close: Close::RateLimited, detail });
            }
            Happened::Heard(Heard::Frame(frame)) => events.push_back(Event::Frame(frame)),
            Happened::Heard(Heard::Malformed(wrong)) => events.push_back(Event::Malformed(wrong)),
            Happened::Heard(Heard::Gone) => events.push_back(Event::Gone),
            Happened::News(news) => self.read(news, &mut events),
            Happened::Opened(opened) => {
                self.opening = None;
                events.push_back(self.opened(*opened));
                // The others were told already, perhaps.
                if self.sessions.is_leaving() {
                    events.push_back(self.leaving());
                }
            }
            Happened::Leaving => events.push_back(self.leaving()),
            Happened::Answered(event) => {
                if let Event::Page { page, .. } = &event {
                    self.sessions.0.metrics.rows_read.inc_by(page.messages.len() as u64);
                }
                events.push_back(event);
            }
            Happened::Listened(Answer::Page(event)) => events.push_back(event),
            Happened::Listened(Answer::Standing(read)) => {
                events.extend(self.listening.stands(read, self.session.log_cursor(), self.tenure.as_ref()));
            }
            Happened::Published(frame) => events.push_back(Event::Tell(*frame)),
            Happened::Attached(attachment) => {
                self.has_lane(LaneState::At(Box::new(attachment)));
                events.push_back(Event::LaneReset);
            }
            Happened::Lane(Some(lanes::Event::Delivery(delivery))) => {
                let inner = &self.sessions.0;
                match self.deliveries.take(delivery, inner.options.fresh) {
                    Ok(delivery) => events.push_back(Event::Delivery(delivery)),
                    // It has no row: nobody would ever ack it.
                    Err(stray) => {
                        inner.metrics.lane_strays.inc();
                        self.deliveries.ack_stray(stray);
                    }
                }
            }
            Happened::Lane(Some(lanes::Event::Reattached)) => {
                self.deliveries.forget();
                events.push_back(Event::LaneReset);
            }
            Happened::Lane(Some(lanes::Event::Gone(error))) => {
                tracing::debug!(error = %error, "the queue of a device is gone under its session");
                self.lane_anew(&mut events);
            }
            Happened::Lane(None) => self.has_lane(LaneState::None),
            Happened::Timer => {
                self.armed = false;
                events.push_back(Event::Timer);
            }
        }
        events
    }

    fn has_lane(&mut self, lane: LaneState) {
        self.post.has_lane(match &lane {
            LaneState::At(at) => Some(Berth { shard: at.shard().to_owned(), consumes: at.consumes() }),
            LaneState::None | LaneState::Opening(_) => None,
        });
        self.lane = lane;
    }

    /// What the lane brought is given back, or will come again.
    fn lane_anew(&mut self, events: &mut VecDeque<Event>) {
        self.deliveries.forget();
        self.has_lane(match &self.tenure {
            Some(tenure) => LaneState::Opening(self.sessions.lane_anew(tenure, self.prefetch)),
            None => LaneState::None,
        });
        events.push_back(Event::LaneReset);
    }

    fn is_flood(&mut self) -> bool {
        let (since, count) = &mut self.pace;
        if since.elapsed().as_secs() >= 1 {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        *count > FRAMES
    }

    fn read(&mut self, news: News, events: &mut VecDeque<Event>) {
        self.asking.settled(news.answers);
        if !news.settled.is_empty() {
            events.push_back(Event::Settled { seqs: news.settled });
        }
        for (seq, reason) in news.withdrawn {
            match events.back_mut() {
                Some(Event::Withdrawn { seqs, reason: before }) if *before == reason => seqs.push(seq),
                _ => events.push_back(Event::Withdrawn { seqs: vec![seq], reason }),
            }
        }
        if let Some(ended) = news.checked {
            events.push_back(Event::Checked { ended });
        }
        if news.acked {
            events.push_back(Event::Acked);
        }
        if let Some((close, why)) = news.end {
            events.push_back(Event::End { close, detail: why.into_owned() });
        }
        if news.look {
            events.push_back(Event::Pending { seq: self.session.cursor() + 1 });
        }
        if let Some(entry) = news.logged {
            events.push_back(Event::Logged { entry: entry.unsigned_abs() });
        }
        events.extend(news.recalled.into_iter().map(|entry| Event::Recalled { entry: entry.unsigned_abs() }));
        if let Some((heard, entry)) = news.heard {
            events.extend(self.listening.stored(heard, entry, self.tenure.as_ref()));
        }
        if news.retagged {
            self.listening.retagged(self.tenure.as_ref());
        }
        events.extend(news.frames.into_iter().map(Event::Tell));
        // One that is on its way looks for itself where it is to be.
        if news.moves && matches!(self.lane, LaneState::At(_)) {
            self.lane_anew(events);
        }
        if let Some((away, within)) = news.drain {
            events.push_back(Event::Drain { away, within });
        }
    }

    fn leaving(&self) -> Event {
        let options = &self.sessions.0.options;
        let away = GoAway { after: Duration::ZERO, spread: options.goaway_spread };
        Event::Drain { away, within: options.drain_within / 3 }
    }

    fn opened(&mut self, opened: Result<Opened, Refused>) -> Event {
        match opened {
            Err((close, detail)) => Event::End { close, detail },
            Ok(Opened { tenure, lane, caught_up, standing, until }) => {
                let claimed = Claimed {
                    fence: tenure.fence,
                    session: tenure.session,
                    heard: standing.heard.unsigned_abs(),
                    logged: standing.last.map(i64::unsigned_abs),
                    until,
                    time: jiff::Timestamp::now(),
                };
                self.post = tenure.post.clone();
                self.asking.begin(caught_up);
                self.listening.begin(&tenure, standing);
                self.tenure = Some(tenure);
                self.has_lane(lane);
                Event::Claimed(claimed)
            }
        }
    }

    /// Does what the session wants; fails when the connection does.
    async fn act(&mut self, actions: Vec<Action>, events: &mut VecDeque<Event>) -> Result<(), Broken> {
        let (mut unsent, mut broken) = (false, false);
        for action in actions {
            match action {
                Action::Send(frame) => {
                    if matches!(frame, ServerFrame::Deliver(_)) {
                        self.sessions.0.metrics.given.inc();
                    }
                    // What else it wants is done all the same.
                    broken = broken || self.write(Some(&frame)).await.is_err();
                    unsent = !broken;
                }
                Action::Claim(hello) => {
                    self.prefetch = hello.window.messages;
                    let opening = self.sessions.clone().open(hello, W::TRANSPORT, self.bearer.take(), self.current.take());
                    self.opening = Some(Box::pin(opening));
                }
                Action::Verify(token) => events.push_back(self.verify(token.0.as_bytes())),
                Action::Ask(ask) => self.asking.ask(ask, self.tenure.as_ref()),
                Action::AskLog(ask) => events.extend(self.listening.ask(ask, self.tenure.as_ref())),
                Action::CheckLog => self.listening.retagged(self.tenure.as_ref()),
                Action::Hear { entry } => self.listening.hear(entry, self.tenure.as_ref()),
                Action::Settle { ends, .. } => self.asking.settle(ends),
                Action::Check(held) => self.asking.check(held, self.tenure.as_ref()),
                Action::GapTold { number, .. } => self.asking.gap_told(number),
                Action::Read { ids } => {
                    if !self.asking.read(ids) {
                        let detail = "more is said to be read than can be stored".to_owned();
                        events.push_back(Event::End { close: Close::RateLimited, detail });
                    }
                }
                Action::Publish(publish) => {
                    let is_member = self.listening.is_in(&publish.group);
                    let Some(tenure) = &self.tenure else { continue };
                    let refused = self.publishing.publish(&self.sessions, tenure, is_member, *publish);
                    events.extend(refused.map(Event::Tell));
                }
                Action::Signal(signal) => {
                    let Some(tenure) = &self.tenure else { continue };
                    events.extend(self.sessions.signal(tenure, *signal).map(Event::Tell));
                }
                Action::Watch { groups } => {
                    let Some(tenure) = &self.tenure else { continue };
                    match self.sessions.0.rooms.takes_of(tenure.identity.number) {
                        Ok(()) => self.watcher.get_or_insert_with(|| Box::new(Watcher::new(tenure))).watch(groups),
                        Err(problem) => events.push_back(Event::Tell(of_problem(None, &problem))),
                    }
                }
                Action::AckLane(tags) => self.deliveries.ack(&tags, &mut self.lane).await,
                // Leaving the lane gives back all that is held, in order.
                Action::GiveBack(_) => {}
                Action::Wake(at) => {
                    self.timer.as_mut().reset(at.into());
                    self.armed = true;
                }
                Action::Close(close) => self.closed = Some(close),
            }
        }
        if unsent {
            broken = self.write(None).await.is_err();
        }
        if broken { Err(Broken) } else { Ok(()) }
    }

    /// Writes a frame, or what was gathered, for as long as the device takes it, or a moment once somebody ends the session.
    async fn write(&mut self, frame: Option<&ServerFrame>) -> Result<(), Broken> {
        let within = self.sessions.0.options.write_within;
        let Self { wire, post, .. } = self;
        let writing = async {
            match frame {
                Some(frame) => wire.say(frame).await,
                None => wire.flush().await,
            }
        };
        tokio::select! {
            biased;
            written = writing => written,
            // What was written has a moment to be taken: then the device is told why, and whether to come back.
            () = async {
                post.ended().await;
                tokio::time::sleep(LAST).await;
            } => Err(Broken),
            () = tokio::time::sleep(within) => Err(Broken),
        }
    }

    fn verify(&self, token: &[u8]) -> Event {
        let end = |(close, detail): Refused| Event::End { close, detail };
        match (self.sessions.bearer(token), &self.tenure) {
            (Err(problem), _) => end(refused(&problem)),
            (Ok(bearer), Some(tenure)) => {
                let (caller, own) = (&bearer.caller, &tenure.identity);
                if *caller.tenant != *own.tenant || *caller.subject != *own.id || !caller.has(door::scope::DEVICE) {
                    return end((Close::NotAllowed, "the token is not for this device".to_owned()));
                }
                Event::Authorized { until: bearer.until() }
            }
            (Ok(bearer), None) => Event::Authorized { until: bearer.until() },
        }
    }

    fn tell_how_it_stands(&self) {
        let cursor = i64::try_from(self.session.cursor()).unwrap_or(i64::MAX);
        self.post.stands(cursor, self.session.is_idle(), self.session.phase() == Phase::Open);
    }

    /// Says goodbye, leaves the lane, and then the device.
    pub(super) async fn leave(mut self: Box<Self>) {
        self.sessions.0.metrics.ended(self.closed);
        self.asking.leave(self.tenure.as_ref());
        self.listening.leave(self.tenure.as_ref());
        let Self { mut wire, lane, closed, tenure, watcher, .. } = *self;
        drop(watcher);
        let goodbye = async move {
            if let Some(close) = closed {
                wire.close(close).await;
            }
        };
        let leaving = async move {
            if let LaneState::At(attachment) = lane {
                attachment.detach().await;
            }
        };
        tokio::join!(goodbye, leaving);
        drop(tenure);
    }
}

/// A future that may be there.
async fn wanted<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn lane_next(lane: &mut LaneState) -> Happened {
    match lane {
        LaneState::None => std::future::pending().await,
        LaneState::Opening(opening) => Happened::Attached(opening.await),
        LaneState::At(attachment) => Happened::Lane(attachment.next().await),
    }
}
