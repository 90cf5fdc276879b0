//! Keys: what is configured, and what verifies.

use std::fmt;

use jsonwebtoken::{DecodingKey, Validation};

/// How tokens are signed with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: one shared secret.
    Hs256,
    /// RSA with SHA-256.
    Rs256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// The key itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// The shared secret, for HS256 only; 32 bytes at least.
    Secret(Vec<u8>),
    /// The public half of a pair, in PEM.
    Pem(String),
}

/// A key as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// What `kid` says; 1 to 64 bytes.
    pub id: String,
    /// The only algorithm it is good for.
    pub algorithm: Algorithm,
    /// The key.
    pub material: Material,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Pem(_) => "Pem(..)",
        })
    }
}

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id does not fit into a `kid`.
    #[error("the key id `{0}` must have 1 to 64 bytes")]
    Id(String),
    /// Two keys with one id.
    #[error("there are two keys with the id `{0}`: give each its own")]
    Twice(String),
    /// A secret that can be guessed from one token.
    #[error("the secret of key `{id}` has {bytes} bytes, 32 at least: make one with `openssl rand -hex 32`")]
    Short {
        /// The key.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// The material is not one for the algorithm.
    #[error("key `{id}` is not usable: {why}")]
    Unusable {
        /// The key.
        id: String,
        /// What is wrong and what is needed.
        why: String,
    },
}

/// The shortest HS256 secret, in bytes.
const SHORTEST_SECRET: usize = 32;

/// A key, ready to verify with.
pub(super) struct Verifying {
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
}

impl fmt::Debug for Verifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifying").field("algorithms", &self.validation.algorithms).finish_non_exhaustive()
    }
}

impl Verifying {
    pub(super) fn new(spec: &KeySpec, issuer: &str, audience: &str) -> Result<Self, KeyError> {
        if spec.id.is_empty() || spec.id.len() > super::KID_MAX {
            return Err(KeyError::Id(spec.id.clone()));
        }
        let mut validation = Validation::new(spec.algorithm.into());
        validation.leeway = super::LEEWAY.unsigned_abs();
        validation.validate_nbf = true;
        validation.set_audience(&[audience]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self { decoding: spec.decoding()?, validation })
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hs256 => Self::HS256,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
            Algorithm::EdDsa => Self::EdDSA,
        }
    }
}

impl KeySpec {
    /// The secret of an HS256 key that is long enough.
    pub(super) fn secret(&self) -> Result<&[u8], KeyError> {
        match &self.material {
            Material::Secret(secret) if secret.len() < SHORTEST_SECRET => {
                Err(KeyError::Short { id: self.id.clone(), bytes: secret.len() })
            }
            Material::Secret(secret) if self.algorithm == Algorithm::Hs256 => Ok(secret),
            _ => Err(self.unusable("only HS256 goes with a shared secret; the other algorithms need a public key in PEM")),
        }
    }

    fn decoding(&self) -> Result<DecodingKey, KeyError> {
        let pem = match (&self.material, self.algorithm) {
            (Material::Secret(_), _) | (_, Algorithm::Hs256) => return Ok(DecodingKey::from_secret(self.secret()?)),
            (Material::Pem(pem), _) => pem,
        };
        // A private key would be taken, and then verify nothing.
        if pem.contains("PRIVATE KEY") {
            return Err(self.unusable("this is a private key: give the public half, and keep this one away from the hub"));
        }
        let (key, length) = match self.algorithm {
            Algorithm::Rs256 => (DecodingKey::from_rsa_pem(pem.as_bytes()), None),
            Algorithm::Es256 => (DecodingKey::from_ec_pem(pem.as_bytes()), Some(65)),
            _ => (DecodingKey::from_ed_pem(pem.as_bytes()), Some(32)),
        };
        let key = key.map_err(|_| self.unusable("the PEM holds no public key for the algorithm"))?;
        // Another curve would be taken too.
        match (length, key.try_get_as_bytes()) {
            (Some(length), Ok(bytes)) if bytes.len() != length => {
                Err(self.unusable("the key is on another curve: ES256 needs P-256, EdDSA needs Ed25519"))
            }
            _ => Ok(key),
        }
    }

    fn unusable(&self, why: &str) -> KeyError {
        KeyError::Unusable { id: self.id.clone(), why: why.to_owned() }
    }
}
