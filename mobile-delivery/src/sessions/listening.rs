//! What one session asks of the log, and says of it: pages, what the device has heard, and its tags when they change. Of each one question is under way.

use database::clock;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::Sessions;
use super::hearing::{Hears, HearsFor};
use super::log::Listener;
use super::rows::given_of_log;
use super::tenure::{DISPLACED, Tenure};
use crate::protocol::Close;
use crate::session::{Ask, Event, LogPage};
use crate::store::{Heard, Hearing, Limit, Standing, StoreError, Tail};

type Read<T> = BoxFuture<'static, Result<T, StoreError>>;

pub(super) struct Listening {
    sessions: Sessions,
    listener: Option<Listener>,
    page: Option<(Ask, Read<Tail>)>,
    /// The tags of the device are being read, and whether they are to be read once more after that.
    standing: Option<Read<Option<Standing>>>,
    again: bool,
    /// What the device has heard and nobody was told yet, and what is being stored.
    heard: Option<i64>,
    storing: Option<i64>,
}

/// What the log, or the store, has answered.
pub(super) enum Answer {
    Page(Event),
    Standing(Result<Option<Standing>, StoreError>),
}

impl Listening {
    pub(super) fn new(sessions: Sessions) -> Self {
        Self { sessions, listener: None, page: None, standing: None, again: false, heard: None, storing: None }
    }

    pub(super) fn begin(&mut self, tenure: &Tenure, standing: Standing) {
        self.listener = Some(Listener::new(&self.sessions, &tenure.identity, &tenure.post, standing));
    }

    /// Whether the device is in a group, as far as is known.
    pub(super) fn is_in(&self, group: &str) -> bool {
        self.listener.as_ref().is_some_and(|listener| listener.is_in(group))
    }

    /// The next answer. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answer {
        let Self { page, standing, .. } = self;
        tokio::select! {
            biased;
            (ask, read) = async {
                match page {
                    Some((ask, reading)) => (*ask, reading.await),
                    None => std::future::pending().await,
                }
            } => {
                *page = None;
                Answer::Page(match read {
                    Ok(tail) => Event::LogPage { ask: ask.number, page: log_page(&tail) },
                    Err(error) => {
                        tracing::debug!(error = %error, "cannot read what a device has not heard, trying again");
                        Event::LogUnread { ask: ask.number }
                    }
                })
            }
            read = async {
                match standing {
                    Some(reading) => reading.await,
                    None => std::future::pending().await,
                }
            } => {
                *standing = None;
                Answer::Standing(read)
            }
        }
    }

    /// Asks the tail, and the store where that does not reach back so far. Answers what is there at once.
    pub(super) fn ask(&mut self, ask: Ask, tenure: Option<&Tenure>) -> Option<Event> {
        let (tenure, listener) = (tenure?, self.listener.as_ref()?);
        let after = i64::try_from(ask.after).unwrap_or(i64::MAX);
        let limit = Limit { messages: ask.messages.into(), bytes: ask.bytes.into() };
        if let Some(page) = listener.page(after, limit) {
            return Some(Event::LogPage { ask: ask.number, page });
        }
        let (sessions, device) = (self.sessions.clone(), tenure.identity.number);
        let reading = async move {
            // Closed never.
            let _turn = sessions.0.reads.acquire().await;
            sessions.0.stores.log.unheard(device, after, limit, clock::now()).await
        };
        self.page = Some((ask, reading.boxed()));
        None
    }

    /// The device has heard everything up to here.
    pub(super) fn hear(&mut self, entry: u64, tenure: Option<&Tenure>) {
        self.heard = i64::try_from(entry).ok().max(self.heard);
        self.go_on(tenure);
    }

    fn go_on(&mut self, tenure: Option<&Tenure>) {
        let (Some(tenure), Some(listener)) = (tenure, &self.listener) else { return };
        if self.storing.is_some() || self.standing.is_some() {
            return;
        }
        if let Some(entry) = self.heard.take() {
            self.storing = Some(entry);
            self.sessions.0.hearing.put(hears(tenure, listener.roster(), entry, HearsFor::Session(tenure.post.clone())));
        }
    }

    /// The store has said something to what was heard.
    pub(super) fn stored(&mut self, heard: Heard, entry: i64, tenure: Option<&Tenure>) -> Option<Event> {
        self.storing = None;
        let event = match heard {
            Heard::Done => Some(Event::Heard { entry: entry.unsigned_abs() }),
            Heard::Stale => {
                self.heard = self.heard.max(Some(entry));
                self.retagged(tenure);
                None
            }
            Heard::Fenced => Some(Event::End { close: Close::Displaced, detail: DISPLACED.to_owned() }),
            Heard::Unknown => {
                Some(Event::End { close: Close::DeviceUnknown, detail: "the device was removed: register it again".to_owned() })
            }
        };
        self.go_on(tenure);
        event
    }

    /// The tags of the device may be others now.
    pub(super) fn retagged(&mut self, tenure: Option<&Tenure>) {
        let Some(tenure) = tenure else { return };
        if self.standing.is_some() {
            self.again = true;
            return;
        }
        let (sessions, device) = (self.sessions.clone(), tenure.identity.number);
        self.standing = Some(async move { sessions.0.stores.log.standing(device).await }.boxed());
    }

    /// Goes by the tags that the device has now. Where it may have passed over something that is for the device by these, it ends, and the next session begins with
    /// what is stored: nothing is given out of order, and no ack means more than its device knows.
    pub(super) fn stands(
        &mut self,
        read: Result<Option<Standing>, StoreError>,
        cursor: u64,
        tenure: Option<&Tenure>,
    ) -> Vec<Event> {
        let cursor = i64::try_from(cursor).unwrap_or(i64::MAX);
        let events = match read {
            Err(error) => {
                tracing::debug!(error = %error, "cannot read the groups of a device; the slow round does");
                Vec::new()
            }
            Ok(None) => Vec::new(),
            Ok(Some(standing)) if tenure.is_some_and(|tenure| *tenure.identity.user != *standing.user) => {
                // Others would be shown who it was.
                let detail = "the device was registered for another user: come back".to_owned();
                vec![Event::End { close: Close::Ended, detail }]
            }
            Ok(Some(standing)) => match self.listener.take() {
                Some(listener) if listener.has_passed(&standing, cursor) => {
                    self.listener = Some(listener);
                    (self.heard, self.again) = (None, false);
                    let detail = "the device has come into a group while it was given what others sent: come back".to_owned();
                    vec![Event::End { close: Close::Ended, detail }]
                }
                before => {
                    // What the device has acked by requests, at any process, is in it.
                    let heard = Event::Heard { entry: standing.heard.unsigned_abs() };
                    let logged = standing.last.map(|last| Event::Logged { entry: last.unsigned_abs() });
                    if let Some(tenure) = tenure {
                        let (had, has) = (before.as_ref().map(Listener::roster), standing.roster);
                        // In this order: the one before would take the place of this one with it.
                        drop(before);
                        self.begin(tenure, standing);
                        if had != Some(has) {
                            self.sessions.0.tasks.spawn(self.sessions.clone().says_what_it_goes_by(tenure, has));
                        }
                    }
                    std::iter::once(heard).chain(logged).collect()
                }
            },
        };
        if std::mem::take(&mut self.again) {
            self.retagged(tenure);
        }
        self.go_on(tenure);
        events
    }

    /// What the device has heard is stored all the same; nobody waits for it.
    pub(super) fn leave(&mut self, tenure: Option<&Tenure>) {
        if let (Some(tenure), Some(listener), Some(entry)) = (tenure, &self.listener, self.heard.take()) {
            self.sessions.0.hearing.put(hears(tenure, listener.roster(), entry, HearsFor::Nobody));
        }
        self.listener = None;
    }
}

fn hears(tenure: &Tenure, roster: i64, entry: i64, who: HearsFor) -> Hears {
    let hearing = Hearing { device: tenure.identity.number, fence: tenure.fence, roster: Some(roster), entry };
    Hears { hearing, who }
}

fn log_page(tail: &Tail) -> LogPage {
    LogPage { messages: tail.entries.iter().map(given_of_log).collect(), more: tail.more, through: tail.through.unsigned_abs() }
}
