//! The kinds every `warren dev` has, to try things with.

use async_trait::async_trait;
use messaging::handler::{Context, Failure, Handler, Outcome};
use messaging::message::Message;

/// Names of the built-in kinds.
pub const KINDS: [&str; 3] = [ECHO, FLAKY, NOOP];

/// Gives its payload back as the result.
pub const ECHO: &str = "demo.echo";

/// Fails twice, then succeeds.
pub const FLAKY: &str = "demo.flaky";

/// Does nothing; for load tests.
pub const NOOP: &str = "demo.noop";

/// Handler of [`ECHO`].
pub struct Echo;

#[async_trait]
impl Handler<Message> for Echo {
    async fn handle(&self, _cx: &Context, message: Message) -> Outcome {
        Outcome::Done(Some(message.body))
    }
}

/// Handler of [`FLAKY`].
pub struct Flaky;

#[async_trait]
impl Handler<Message> for Flaky {
    async fn handle(&self, cx: &Context, _message: Message) -> Outcome {
        if cx.attempt < 3 {
            return Outcome::Retry(Failure::new("flaky", format!("attempt {} fails on purpose, the third works", cx.attempt)));
        }
        Outcome::Done(Some(format!(r#"{{"attempts":{}}}"#, cx.attempt).into()))
    }
}

/// Handler of [`NOOP`].
pub struct Noop;

#[async_trait]
impl Handler<Message> for Noop {
    async fn handle(&self, _cx: &Context, _message: Message) -> Outcome {
        Outcome::done()
    }
}
