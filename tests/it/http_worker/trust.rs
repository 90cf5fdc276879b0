//! TLS: whom a call trusts, and what is said when it does not.

use serde_json::json;
use warren_tests::broker::{Broker, BrokerOptions};

use super::Stage;
use crate::tls::certificates::Authority;
use crate::world::{Keep, LONG};

#[tokio::test]
async fn a_certificate_of_a_stranger_is_named_in_the_error() {
    // Any server that speaks TLS will do to be trusted or not: here a broker, which then answers with what is no HTTP.
    let (authority, stranger) = (Authority::new("the right authority"), Authority::new("another authority"));
    let tls = Some(authority.listener(authority.server("localhost")));
    let server = Broker::dedicated_with(BrokerOptions { tls, ..BrokerOptions::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let mut toml = String::new();
    for (name, authority) in [("trusts", &authority), ("distrusts", &stranger)] {
        let path = folder.path().join(format!("{name}.pem"));
        std::fs::write(&path, authority.pem()).unwrap();
        toml.push_str(&format!(
            "[[kind]]\nname = \"tls.{name}\"\nworker = \"http\"\nretry = {{ max_attempts = 1 }}\n\
             [kind.http]\nurl = \"https://localhost:{}/\"\ndestination = \"{name}\"\n\
             [[destination]]\nname = \"{name}\"\nca_file = \"{}\"\n",
            server.amqps_addr().port(),
            path.display()
        ));
    }
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    let end = async |kind: &str| {
        let id = client.accepted(kind, &json!({})).await;
        client.wait_state(&id, "dead", LONG).await.to_string()
    };
    let distrusted = end("tls.distrusts").await;
    assert!(distrusted.contains("connect-failed: cannot connect: ") && distrusted.contains("UnknownIssuer"), "{distrusted}");
    let trusted = end("tls.trusts").await;
    assert!(trusted.contains("request-failed: ") && !trusted.contains("UnknownIssuer"), "{trusted}");
}
