//! Secrets that all processes on one store share: the port, written by each database.

use async_trait::async_trait;

use super::StoreError;

/// 32 random bytes.
pub type Secret = [u8; 32];

/// Secrets by name.
#[async_trait]
pub trait SecretStore: Send + Sync + 'static {
    /// The secret of that name, which is `fresh` from now on if there was none. Of two that ask at once both get the same.
    ///
    /// # Errors
    /// As [`StoreError`]; [`StoreError::Unusable`] when what is there is no secret.
    async fn secret(&self, name: &str, fresh: &Secret) -> Result<Secret, StoreError>;
}

/// What a row holds, as a secret.
pub(super) fn read(name: &str, stored: &[u8]) -> Result<Secret, StoreError> {
    stored.try_into().map_err(|_| {
        StoreError::Unusable(format!("the secret `{name}` in the database has {} bytes and not 32: restore it", stored.len()))
    })
}
