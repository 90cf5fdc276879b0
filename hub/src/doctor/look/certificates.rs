//! The certificates on the way: when each ends.

use jiff::Timestamp;
use messaging::greeting::certificate_at;
use reqwest::Url;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;
use x509_parser::pem::Pem;

use crate::config::Broker;
use crate::doctor::snapshot::Certificate;
use crate::management::Management;

/// Those of the broker, as it showed them, and those of our files.
pub(super) async fn look(broker: &Broker, at: &str, shown: Option<Vec<u8>>, client: &Management) -> Vec<Certificate> {
    let mut found = Vec::new();
    if let Some(der) = shown {
        found.push(Certificate { object: format!("certificate of {at}"), ends: end_of(&der).map(|end| vec![end]), any: false });
    }
    if let Some(url) = Url::parse(client.at()).ok().filter(|url| url.scheme() == "https")
        && let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default())
        && let Ok(der) = certificate_at(host, port).await
    {
        let object = format!("certificate of the management API at {host}:{port}");
        found.push(Certificate { object, ends: end_of(&der).map(|end| vec![end]), any: false });
    }
    // Of authorities that are trusted one is enough; of the chain that is shown every part is looked at.
    for (key, path, any) in [("ca_file", &broker.ca_file, true), ("client_cert_file", &broker.client_cert_file, false)] {
        if let Some(path) = path {
            let ends = std::fs::read(path).map_err(|error| error.to_string()).and_then(|text| ends_in(&text));
            found.push(Certificate { object: format!("broker.{key} {}", path.display()), ends, any });
        }
    }
    found
}

/// When each certificate of a PEM file ends. What else is in it, such as the key, is left alone.
fn ends_in(text: &[u8]) -> Result<Vec<Timestamp>, String> {
    let mut ends = Vec::new();
    for pem in Pem::iter_from_buffer(text) {
        let pem = pem.map_err(|error| format!("is no PEM: {error}"))?;
        if pem.label == "CERTIFICATE" {
            ends.push(end_of(&pem.contents)?);
        }
    }
    if ends.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(ends) }
}

fn end_of(der: &[u8]) -> Result<Timestamp, String> {
    let (_, certificate): (_, X509Certificate<'_>) =
        parse_x509_certificate(der).map_err(|error| format!("is no certificate: {error}"))?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_key_beside_a_certificate_is_left_alone() {
        let block = |label: &str, what: &str| format!("-----BEGIN {label}-----\n{what}\n-----END {label}-----\n");
        let key = block("PRIVATE KEY", &STANDARD.encode("a key"));
        assert_eq!(ends_in(key.as_bytes()), Err("holds no certificate".to_owned()));
        let broken = key + &block("CERTIFICATE", &STANDARD.encode("no certificate"));
        assert!(ends_in(broken.as_bytes()).unwrap_err().starts_with("is no certificate"));
    }
}
