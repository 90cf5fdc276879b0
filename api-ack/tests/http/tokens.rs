//! Tokens that must not be believed, and those that must.

use door::auth::{AUDIENCE, Algorithm, Grant, KeyError, KeySpec, Material, Verifier, mint};
use door::problem::Code;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::ground::{ISSUER, ada, key, problem, start};

const RS_PRIVATE: &str = include_str!("keys/rs256.pem");
const RS_PUBLIC: &str = include_str!("keys/rs256.pub.pem");
const ES_PRIVATE: &str = include_str!("keys/es256.pem");
const ES_PUBLIC: &str = include_str!("keys/es256.pub.pem");
const ED_PRIVATE: &str = include_str!("keys/eddsa.pem");
const ED_PUBLIC: &str = include_str!("keys/eddsa.pub.pem");
const P384_PUBLIC: &str = include_str!("keys/p384.pub.pem");

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "warren", "sub": "ada", "tenant": "acme", "scope": "jobs:submit", "exp": now() + 600})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn pem(id: &str, algorithm: Algorithm, pem: &str) -> KeySpec {
    KeySpec { id: id.to_owned(), algorithm, material: Material::Pem(pem.to_owned()) }
}

fn verifier(keys: &[KeySpec]) -> Verifier {
    Verifier::new(keys, ISSUER, AUDIENCE).unwrap()
}

fn believed(verifier: &Verifier, token: &str) -> bool {
    match verifier.verify(token.as_bytes()) {
        Ok(caller) => {
            assert_eq!((caller.tenant.as_str(), caller.subject.as_str()), ("acme", "ada"));
            true
        }
        Err(problem) => {
            assert_eq!(problem.code, Code::TokenInvalid);
            assert!(token.len() < 10 || !problem.detail.contains(token));
            false
        }
    }
}

/// Signed with the test key, whatever the header says besides.
fn signed(header: &Header, claims: &Value) -> String {
    encode(header, claims, &EncodingKey::from_secret(&[7; 32])).unwrap()
}

/// RFC 4648 section 5, without padding: a JWT's parts, to build what no library builds.
fn part(json: &Value) -> String {
    let token = encode(&Header::default(), json, &EncodingKey::from_secret(b"any")).unwrap();
    token.split('.').nth(1).unwrap().to_owned()
}

#[test]
fn claims_decide() {
    let verifier = verifier(&[key()]);
    let token = |claims: &Value| signed(&Header::default(), claims);
    let good = [
        claims(),
        with("aud", json!(["other", "warren"])),
        with("exp", json!(now() - 10)),
        with("nbf", json!(now() + 10)),
        with("nbf", json!(now() - 10)),
        with("scope", json!("")),
        with("anything", json!({"a": 1})),
    ];
    for claims in &good {
        assert!(believed(&verifier, &token(claims)), "{claims}");
    }
    let mut bad = vec![
        with("exp", json!(now() - 60)),
        with("exp", json!(0)),
        with("exp", json!(-1)),
        with("exp", json!((now() + 600).to_string())),
        with("exp", json!(now() as f64 + 600.5)),
        with("exp", json!(1e300)),
        with("exp", json!(1u64 << 63)),
        with("exp", json!(i64::MAX)),
        with("exp", json!([now() + 600])),
        with("nbf", json!(now() + 60)),
        with("nbf", json!("soon")),
        with("aud", json!("other")),
        with("aud", json!("WARREN")),
        with("aud", json!([])),
        with("aud", json!(7)),
        with("iss", json!("https://issuer.test/")),
        with("iss", json!(null)),
        with("sub", json!("")),
        with("sub", json!(7)),
        with("sub", json!("a\nb")),
        with("sub", json!("s".repeat(201))),
        with("tenant", json!("")),
        with("tenant", json!("t\u{0}")),
        with("tenant", json!(["acme"])),
        with("scope", json!(["jobs:submit"])),
        json!([]),
        json!("text"),
    ];
    bad.extend(["exp", "iss", "aud", "sub", "tenant", "scope"].map(without));
    for claims in &bad {
        assert!(!believed(&verifier, &token(claims)), "{claims}");
    }
}

#[test]
fn the_header_decides_nothing() {
    let verifier = verifier(&[key(), pem("rsa", Algorithm::Rs256, RS_PUBLIC)]);
    let named = |kid: &str| Header { kid: Some(kid.to_owned()), ..Header::default() };
    assert!(believed(&verifier, &signed(&named("test"), &claims())));

    let long = "k".repeat(10_000);
    for kid in ["", "../../dev/null", "' or 1=1 --", "https://evil.test/key", "TEST", "test\u{0}", &long] {
        assert!(!believed(&verifier, &signed(&named(kid), &claims())), "{kid}");
    }
    assert!(!believed(&verifier, &signed(&Header::default(), &claims())), "no kid and two keys");
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..named("test") };
    assert!(!believed(&verifier, &signed(&critical, &claims())));

    // A key that the token brings along is no key.
    let own = EncodingKey::from_secret(&[8; 32]);
    for kid in ["test", "mine"] {
        let mut header = named(kid);
        header.jku = Some("https://evil.test/jwks".to_owned());
        header.x5u = Some("https://evil.test/cert".to_owned());
        header.jwk =
            serde_json::from_value(json!({"kty": "oct", "alg": "HS256", "k": "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"}))
                .ok();
        assert!(header.jwk.is_some());
        assert!(!believed(&verifier, &encode(&header, &claims(), &own).unwrap()), "{kid}");
    }
}

#[test]
fn no_algorithm_is_none() {
    let verifier = verifier(&[key()]);
    let token = signed(&Header::default(), &claims());
    let signature = token.rsplit('.').next().unwrap();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        let head = part(&json!({"alg": alg, "typ": "JWT"}));
        for signature in ["", signature, "AAAA"] {
            assert!(!believed(&verifier, &format!("{head}.{}.{signature}", part(&claims()))), "{alg}");
        }
    }
    for broken in ["", ".", "..", "a.b", "a.b.c.d", "\u{ff}.\u{ff}.\u{ff}"] {
        assert!(!believed(&verifier, broken), "{broken}");
    }
    let (body, _) = token.rsplit_once('.').unwrap();
    assert!(!believed(&verifier, &format!("{body}.")), "no signature");
    let forged = format!("{}.{}.{signature}", token.split('.').next().unwrap(), part(&with("tenant", json!("other"))));
    assert!(!believed(&verifier, &forged), "other claims under the same signature");
    assert!(!believed(&verifier, &signed(&Header::default(), &with("fill", json!("x".repeat(8192))))), "over 8 KiB");
}

#[test]
fn a_public_key_is_no_secret() {
    // RS256 taken for HS256: signed with the text of the public key, which everybody has.
    for (algorithm, public) in [(Algorithm::Rs256, RS_PUBLIC), (Algorithm::Es256, ES_PUBLIC), (Algorithm::EdDsa, ED_PUBLIC)] {
        let verifier = verifier(&[pem("k", algorithm, public)]);
        for secret in [public, public.trim()] {
            let forged = encode(&Header::default(), &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap();
            assert!(!believed(&verifier, &forged));
        }
    }
}

#[test]
fn each_algorithm_is_believed_from_its_key_alone() {
    let keys = [
        (jsonwebtoken::Algorithm::HS256, EncodingKey::from_secret(&[7; 32]), key()),
        (
            jsonwebtoken::Algorithm::RS256,
            EncodingKey::from_rsa_pem(RS_PRIVATE.as_bytes()).unwrap(),
            pem("rsa", Algorithm::Rs256, RS_PUBLIC),
        ),
        (
            jsonwebtoken::Algorithm::ES256,
            EncodingKey::from_ec_pem(ES_PRIVATE.as_bytes()).unwrap(),
            pem("ec", Algorithm::Es256, ES_PUBLIC),
        ),
        (
            jsonwebtoken::Algorithm::EdDSA,
            EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap(),
            pem("ed", Algorithm::EdDsa, ED_PUBLIC),
        ),
    ];
    let all = verifier(&keys.clone().map(|(_, _, spec)| spec));
    for (algorithm, signing, spec) in &keys {
        let token = encode(&Header::new(*algorithm), &claims(), signing).unwrap();
        assert!(believed(&verifier(std::slice::from_ref(spec)), &token), "{algorithm:?}");
        for (_, _, other) in keys.iter().filter(|(_, _, other)| other.id != spec.id) {
            assert!(!believed(&verifier(std::slice::from_ref(other)), &token), "{algorithm:?} by {}", other.id);
            let header = Header { kid: Some(other.id.clone()), ..Header::new(*algorithm) };
            assert!(!believed(&all, &encode(&header, &claims(), signing).unwrap()), "{algorithm:?} as {}", other.id);
        }
    }
}

#[test]
fn a_remembered_token_still_expires() {
    let verifier = verifier(&[key()]);
    // Good for one or two seconds more: the leeway is 30 s.
    let token = signed(&Header::default(), &with("exp", json!(now() - 28)));
    assert!(believed(&verifier, &token));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while believed(&verifier, &token) {
        assert!(std::time::Instant::now() < deadline, "it never expired");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn unfit_keys_are_refused_at_start() {
    let secret = |id: &str, n| KeySpec { id: id.to_owned(), algorithm: Algorithm::Hs256, material: Material::Secret(vec![1; n]) };
    let refused = |keys: &[KeySpec]| Verifier::new(keys, ISSUER, AUDIENCE).unwrap_err();
    assert_eq!(refused(&[secret("k", 31)]), KeyError::Short { id: "k".to_owned(), bytes: 31 });
    assert_eq!(refused(&[secret("k", 32), secret("k", 33)]), KeyError::Twice("k".to_owned()));
    assert!(matches!(refused(&[secret("", 32)]), KeyError::Id(_)));
    assert!(matches!(refused(&[secret(&"k".repeat(65), 32)]), KeyError::Id(_)));
    for spec in [
        KeySpec { algorithm: Algorithm::Rs256, ..secret("k", 32) },
        pem("k", Algorithm::Hs256, RS_PUBLIC),
        pem("k", Algorithm::Rs256, ES_PUBLIC),
        pem("k", Algorithm::Rs256, RS_PRIVATE),
        pem("k", Algorithm::Es256, P384_PUBLIC),
        pem("k", Algorithm::Es256, ED_PUBLIC),
        pem("k", Algorithm::EdDsa, ES_PUBLIC),
        pem("k", Algorithm::EdDsa, "rubbish"),
    ] {
        assert!(matches!(refused(std::slice::from_ref(&spec)), KeyError::Unusable { .. }), "{spec:?}");
    }
}

#[test]
fn only_a_secret_mints() {
    let grant = Grant {
        tenant: "acme".to_owned(),
        subject: "ada".to_owned(),
        scopes: vec!["jobs:read".to_owned()],
        valid: std::time::Duration::from_secs(60),
    };
    let token = mint(&key(), ISSUER, AUDIENCE, &grant).unwrap();
    let caller = verifier(&[key(), pem("rsa", Algorithm::Rs256, RS_PUBLIC)]).verify(token.as_bytes()).unwrap();
    assert!(caller.has("jobs:read") && !caller.has("jobs:submit") && !caller.has("jobs:read:all"));
    assert!(mint(&pem("rsa", Algorithm::Rs256, RS_PUBLIC), ISSUER, AUDIENCE, &grant).is_err());
    assert!(mint(&key(), ISSUER, AUDIENCE, &Grant { tenant: String::new(), ..grant }).is_err());
}

#[test]
fn a_key_is_not_shown() {
    let spec = KeySpec { material: Material::Secret(b"canary-canary-canary-canary-canary".to_vec()), ..key() };
    let shown = format!("{spec:?} {:?}", verifier(std::slice::from_ref(&spec)));
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
}

#[tokio::test]
async fn a_verifier_without_keys_believes_nobody() {
    let ground = crate::ground::start_with(&[], Default::default(), Default::default()).await;
    problem(ground.submission().send().await.unwrap(), 401, "token-invalid").await;
    drop(ground);
    let ground = start().await;
    let lower =
        ground.client.get(ground.url("/v1/kinds")).header("authorization", format!("bearer {}", ada())).send().await.unwrap();
    assert_eq!(lower.status(), 200, "the scheme is case-insensitive");
}
