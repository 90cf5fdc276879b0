//! Who may speak for a run.

use messaging::message::Run;
use uuid::Uuid;

use crate::kinds::{Kinds, Worker};
use crate::run_token::RunTokens;

/// Tells reports of whoever was given a run from others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    tokens: RunTokens,
    kinds: Kinds,
}

impl Trust {
    /// By `tokens`, which `kinds` ask for.
    pub fn new(tokens: RunTokens, kinds: Kinds) -> Self {
        Self { tokens, kinds }
    }

    /// Whether a report of a run of a job of `kind` is to be heard.
    ///
    /// A token that is there must be right. One that is not is asked for, but of kinds with `worker = "rust"`: their services may be of a
    /// version that knew of none.
    ///
    /// # Errors
    /// `no-token` or `wrong-token`.
    pub fn check(&self, job: Uuid, kind: &str, run: Run, token: Option<&str>) -> Result<(), &'static str> {
        match token {
            Some(token) if self.tokens.matches(job, run, token) => Ok(()),
            Some(_) => Err("wrong-token"),
            None if self.kinds.get(kind).is_some_and(|spec| spec.worker == Worker::Rust) => Ok(()),
            None => Err("no-token"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use broker_topology::Kind;

    use super::*;
    use crate::kinds::KindSpec;

    #[test]
    fn who_has_no_token_speaks_for_rust_kinds_only_and_who_has_a_wrong_one_for_none() {
        let spec = |name: &str, worker| KindSpec::new(Kind::parse(name).unwrap(), worker);
        let kinds = Kinds::new([spec("r", Worker::Rust), spec("a", Worker::Amqp), spec("h", Worker::Http)]);
        let tokens = RunTokens::with(&[1; 32]);
        let trust = Trust::new(tokens.clone(), kinds);
        let (job, run) = (Uuid::from_u128(7), Run::default());
        let (right, next) = (tokens.of(job, run), tokens.of(job, Run { attempt: 2, ..run }));
        for kind in ["r", "a", "h", "gone"] {
            assert_eq!(trust.check(job, kind, run, Some(&right)), Ok(()));
            assert_eq!(trust.check(job, kind, run, Some(&next)), Err("wrong-token"));
            assert_eq!(trust.check(Uuid::from_u128(8), kind, run, Some(&right)), Err("wrong-token"));
            let without = if kind == "r" { Ok(()) } else { Err("no-token") };
            assert_eq!(trust.check(job, kind, run, None), without, "{kind}");
        }
    }
}
