//! Why a step of a run did not come to its end.

use lapin::ErrorKind;

/// The broker said no, or nothing.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// The AMQP reply code, 0 when there was none.
    code: u16,
    text: String,
}

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { code: 0, text: text.into() }
    }

    /// `what` completes "the broker refuses to".
    pub(super) fn of(what: &str, error: &lapin::Error) -> Self {
        let code = if let ErrorKind::ProtocolError(refusal) = error.kind() { refusal.get_id() } else { 0 };
        Self { code, text: format!("the broker refuses to {what}: {error}") }
    }

    /// There is no such queue or exchange.
    pub(super) fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Another connection has it for itself.
    pub(super) fn is_locked(&self) -> bool {
        self.code == 405
    }

    /// It is there with other arguments, or nobody may have it with these, or there are queues enough: RabbitMQ has one code for all.
    pub(super) fn is_precondition(&self) -> bool {
        self.code == 406
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What became of the step.
#[derive(Debug)]
pub(super) enum Broken {
    /// It may be anywhere between begun and done.
    Fault(Fault),
    /// The time is up, or there is no sense in going on; why. What was done can be undone.
    Late(String),
    /// It is not for this queue.
    Unfit(String),
}

impl Broken {
    /// There is no way back from here.
    pub(super) fn for_good(self) -> Self {
        match self {
            Self::Late(why) | Self::Unfit(why) => Self::Fault(Fault::new(why)),
            fault @ Self::Fault(_) => fault,
        }
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Late(why) | Self::Unfit(why) => f.write_str(why),
        }
    }
}
