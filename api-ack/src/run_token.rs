//! Tokens of runs: who holds one was given that run's message, and may speak for it.
//!
//! ```text
//! token = base64url without padding, 43 characters, of HMAC-SHA256(secret, "<job id>/<epoch>/<attempt>")
//! ```
//!
//! The relay puts it on every job message (`warren-token`); whoever does the work hands it back with what it reports. It is computed
//! where it is needed and stored nowhere. The secret is in the store, made when that was first opened, so all processes agree.
//! A token says nothing about time: one of a run that is over is a right token of a run that is over.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use messaging::message::Run;
use uuid::Uuid;

use crate::store::{Secret, SecretStore, StoreError};

/// What the secret is called in the store.
const NAME: &str = "run-token";

/// Makes and checks tokens of runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunTokens(Arc<hmac::Key>);

impl RunTokens {
    /// With the secret that `store` has, which this call makes if there is none.
    ///
    /// # Errors
    /// As [`StoreError`]; [`StoreError::Unusable`] when there is no randomness to be had.
    pub async fn open(store: &dyn SecretStore) -> Result<Self, StoreError> {
        let mut fresh = Secret::default();
        let random = rand::fill(&mut fresh);
        random.map_err(|_| StoreError::Unusable("the operating system gives no random bytes for a secret".to_owned()))?;
        Ok(Self::with(&store.secret(NAME, &fresh).await?))
    }

    /// With a secret that is known.
    pub fn with(secret: &Secret) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The token of a run of a job.
    pub fn of(&self, job: Uuid, run: Run) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, signed(job, run).as_bytes()))
    }

    /// Whether `token` is that of the run, in a time that does not tell how much of it is right.
    pub fn matches(&self, job: Uuid, run: Run, token: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(token);
        tag.is_ok_and(|tag| hmac::verify(&self.0, signed(job, run).as_bytes(), &tag).is_ok())
    }
}

fn signed(job: Uuid, Run { epoch, attempt }: Run) -> String {
    format!("{job}/{epoch}/{attempt}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { epoch: 1, attempt: 2 };

    #[test]
    fn a_token_is_that_of_one_run_of_one_job_under_one_secret() {
        let (job, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let tokens = RunTokens::with(&[1; 32]);
        let token = tokens.of(job, RUN);
        assert_eq!(token, tokens.of(job, RUN), "it is computed, and always the same");
        assert_eq!(token.len(), 43);
        assert!(tokens.matches(job, RUN, &token));
        assert!(!tokens.matches(other, RUN, &token));
        assert!(!tokens.matches(job, Run { epoch: 2, ..RUN }, &token));
        assert!(!tokens.matches(job, Run { attempt: 3, ..RUN }, &token));
        assert!(!RunTokens::with(&[2; 32]).matches(job, RUN, &token));
        for bad in ["", "A", "=", "\u{7121}", &token[1..], &format!("{token}="), &"A".repeat(1 << 20)] {
            assert!(!tokens.matches(job, RUN, bad), "{}", bad.len());
        }
    }

    #[test]
    fn the_form_is_this() {
        // As openssl computes it, with a key of 32 zero bytes.
        let token = RunTokens::with(&[0; 32]).of(Uuid::from_u128(7), RUN);
        assert_eq!(token, "syaI5Ahp2KP2a-rfPVMMxY9ill6hr8mBiojwJCeqLQk");
    }
}
