//! The configured keys, as what verifies tokens with them.

use door::auth::{self, KeySpec, Material};

pub use door::auth::Verifier;

use crate::config::{Algorithm, Auth, AuthKey, KeyMaterial};

/// `iss` when none is configured.
pub const DEFAULT_ISSUER: &str = "warren";

/// A verifier for what is configured.
///
/// # Errors
/// Names the key that is of no use.
pub fn verifier(config: &Auth) -> Result<Verifier, String> {
    let keys: Vec<KeySpec> = config.keys.iter().map(spec).collect();
    Verifier::new(&keys, issuer(config), &config.audience).map_err(|e| e.to_string())
}

/// The key to sign with, the last HS256 one: its secret is the only kind that is here.
pub fn signer(config: &Auth) -> Option<KeySpec> {
    config.keys.iter().rev().find(|key| key.algorithm == Algorithm::Hs256).map(spec)
}

/// What `iss` of a token must be, and is.
pub fn issuer(config: &Auth) -> &str {
    config.issuer.as_deref().unwrap_or(DEFAULT_ISSUER)
}

fn spec(key: &AuthKey) -> KeySpec {
    KeySpec {
        id: key.id.clone(),
        algorithm: match key.algorithm {
            Algorithm::Hs256 => auth::Algorithm::Hs256,
            Algorithm::Rs256 => auth::Algorithm::Rs256,
            Algorithm::Es256 => auth::Algorithm::Es256,
            Algorithm::EdDsa => auth::Algorithm::EdDsa,
        },
        material: match &key.material {
            KeyMaterial::Secret(secret) => Material::Secret(secret.expose().as_bytes().to_vec()),
            KeyMaterial::PublicKey(pem) => Material::Pem(pem.clone()),
        },
    }
}
