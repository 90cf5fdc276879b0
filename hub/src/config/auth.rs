//! Whose tokens are believed.

use std::path::PathBuf;

use serde::Serialize;

use super::Secret;
use super::section::Section;
use super::sources::read;
use super::value::words;

/// Whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Auth {
    /// What `iss` must be; required as soon as there is a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What `aud` must be; default `warren`.
    pub audience: String,
    /// The keys tokens are signed with, one `[[auth.keys]]` each; without any, nobody outside this machine is let in.
    pub keys: Vec<AuthKey>,
}

/// One key; it is good for one algorithm only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuthKey {
    /// What a token's `kid` says.
    pub id: String,
    /// How tokens are signed with it.
    pub algorithm: Algorithm,
    /// The key.
    #[serde(flatten)]
    pub material: KeyMaterial,
}

/// The key itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMaterial {
    /// The secret shared with those who issue tokens (HS256), at least 32 bytes.
    Secret(Secret),
    /// The public half of a pair, in PEM.
    PublicKey(String),
}

words! {
    /// How a token is signed.
    Algorithm {
        /// HMAC with SHA-256: one shared secret.
        Hs256 = "HS256",
        /// RSA with SHA-256.
        Rs256 = "RS256",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

/// A shorter secret can be guessed from one token.
const SHORTEST_SECRET: usize = 32;

impl Auth {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            issuer: section.opt("issuer"),
            audience: section.get("audience", "warren".to_owned()),
            keys: section.sections("keys").iter_mut().filter_map(AuthKey::read).collect(),
        }
    }
}

impl AuthKey {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let id: Option<String> = section.required("id", "give the key a name, which a token's `kid` can repeat");
        let algorithm: Option<Algorithm> = section.required("algorithm", "write HS256, RS256, ES256 or EdDSA");
        let secret: Option<Secret> = section.opt("secret");
        let secret_file: Option<PathBuf> = section.opt("secret_file");
        let public_key_file: Option<PathBuf> = section.opt("public_key_file");
        let algorithm = algorithm?;
        let found = match (algorithm, secret, secret_file, public_key_file) {
            (Algorithm::Hs256, Some(secret), None, None) => Ok(KeyMaterial::Secret(secret)),
            (Algorithm::Hs256, None, Some(path), None) => {
                read(&path).map(|text| KeyMaterial::Secret(Secret::new(text.trim()))).map_err(|error| ("secret_file", error))
            }
            (Algorithm::Hs256, ..) => {
                Err(("secret", "must be given, or secret_file, and no other: HS256 needs one secret".to_owned()))
            }
            (_, None, None, Some(path)) => read(&path).map(KeyMaterial::PublicKey).map_err(|error| ("public_key_file", error)),
            _ => {
                Err(("public_key_file", format!("must be given and no secret: {} needs a public key in PEM", algorithm.as_str())))
            }
        };
        match found {
            Ok(KeyMaterial::Secret(secret)) if secret.expose().len() < SHORTEST_SECRET => {
                section.problem("secret", format!("has under {SHORTEST_SECRET} bytes: make one with `openssl rand -hex 32`"));
                None
            }
            Ok(material) => Some(Self { id: id?, algorithm, material }),
            Err((key, text)) => {
                section.problem(key, text);
                None
            }
        }
    }
}
