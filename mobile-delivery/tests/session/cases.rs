//! Cases worth a name.

mod ending;
mod giving;
mod hearing;
mod rooms;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mobile_delivery::protocol::{ClientFrame, Close, Hello, ServerFrame, Window};
use mobile_delivery::session::{Action, Ask, Claimed, Delivery, End, Ended, Event, Limits, Page, Session, Tag};
use uuid::Uuid;

use super::store::{id, message};

/// A session and its clock.
struct Talk {
    session: Session,
    now: Instant,
}

impl Talk {
    /// Before the `hello`.
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(Arc::new(Limits::default()), now), now }
    }

    /// With the device claimed under fence 7, and the first question asked.
    fn open(messages: u16) -> Self {
        Self::open_with(hello(Window { messages, ..Window::default() }))
    }

    fn open_with(hello: Hello) -> Self {
        let mut talk = Self::new();
        talk.on(Event::Timer);
        assert!(matches!(talk.says(ClientFrame::Hello(Box::new(hello)))[..], [Action::Claim(_), ..]));
        let actions = talk.on(Event::Claimed(claimed()));
        assert!(matches!(&actions[..2], [Action::Send(ServerFrame::Welcome(_)), Action::Ask(Ask { number: 1, after: 0, .. })]));
        talk
    }

    /// With everything read that there was.
    fn live(messages: u16) -> Self {
        let mut talk = Self::open(messages);
        assert!(talk.page(1, page(&[], 0)).contains(&Action::Send(ServerFrame::Idle)));
        talk
    }

    /// Without setting of the timer, which every other action does.
    fn on(&mut self, event: Event) -> Vec<Action> {
        let actions = self.session.on(event, self.now);
        actions.into_iter().filter(|action| !matches!(action, Action::Wake(_))).collect()
    }

    fn says(&mut self, frame: ClientFrame) -> Vec<Action> {
        self.on(Event::Frame(frame))
    }

    fn acks(&mut self, up_to: u64) -> Vec<Action> {
        self.says(ClientFrame::Ack { up_to: Some(up_to), seqs: Vec::new(), entry: None, gap: None })
    }

    fn page(&mut self, ask: u32, page: Page) -> Vec<Action> {
        self.on(Event::Page { ask, page })
    }

    /// The lane brings a message of ten bytes.
    fn lane(&mut self, seq: u64, after: u64) -> Vec<Action> {
        self.on(Event::Delivery(Delivery { tag: Tag(seq), seq, after, message: Some(message(seq, 10)) }))
    }

    /// So much time passes, and the timer rings.
    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.on(Event::Timer)
    }
}

fn hello(window: Window) -> Hello {
    Hello { device: "phone".to_owned(), token: None, window, heartbeat: None, seen: Vec::new(), agent: None, one_way: false }
}

fn claimed() -> Claimed {
    Claimed { fence: 7, session: Uuid::nil(), heard: 0, logged: None, until: None, time: Timestamp::UNIX_EPOCH }
}

/// The last page there is.
fn page(seqs: &[u64], through: u64) -> Page {
    Page { messages: seqs.iter().map(|seq| message(*seq, 10)).collect(), through, ..Page::default() }
}

/// The seqs of what is given, `-` before those that are given again.
fn given(actions: &[Action]) -> Vec<i64> {
    let seq = |action: &Action| match action {
        Action::Send(ServerFrame::Deliver(message)) => {
            let seq = i64::try_from(message.seq).unwrap();
            Some(if message.dup { -seq } else { seq })
        }
        _ => None,
    };
    actions.iter().filter_map(seq).collect()
}

fn asked(actions: &[Action]) -> Option<Ask> {
    actions.iter().find_map(|action| if let Action::Ask(ask) = action { Some(*ask) } else { None })
}

fn closed(actions: &[Action]) -> Option<Close> {
    match actions.last() {
        Some(Action::Close(close)) => Some(*close),
        _ => None,
    }
}

fn delivered(seqs: &[u64]) -> Action {
    let end = |seq: &u64| End { seq: *seq, id: id(*seq), ended: Ended::Delivered };
    Action::Settle { fence: 7, ends: seqs.iter().map(end).collect() }
}
