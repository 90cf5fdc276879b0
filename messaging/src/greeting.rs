//! What a broker says of itself before anybody has logged in: the first frame of AMQP, and the certificate that comes before it.
//!
//! The client library keeps neither, and they are all that is to be had of a broker whose management API is closed. Nothing is sent but
//! the eight bytes that ask for AMQP 0-9-1, and our certificate where there is one: whoever is at the other end learns no secret. So the
//! certificate is taken as it is, valid or not: this tells what it says, and never whether to trust it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::protocol::connection::{AMQPMethod, Start};
use lapin::protocol::{AMQPClass, parse_class};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connection::BrokerOptions;

/// For the name, TCP, TLS and the frame together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any broker's first frame; what claims more is something else.
const LONGEST: u32 = 64 * 1024;

/// What a broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// `RabbitMQ`.
    pub product: String,
    /// `4.3.6`.
    pub version: String,
    /// `Erlang/OTP 27.3`.
    pub platform: String,
}

/// What was learnt by looking at one address: either half may be missing without the other.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    /// The certificate that was shown, DER; `None` without TLS.
    pub certificate: Option<Vec<u8>>,
    /// The greeting, or why there is none.
    pub greeting: Option<Result<Greeting, String>>,
}

impl BrokerOptions {
    /// Listens to what is at `url`, as long as 10 s, without logging in.
    pub async fn glance(&self, url: &str) -> Glance {
        let uri: AMQPUri = match url.parse() {
            Ok(uri) => uri,
            Err(why) => return Glance { greeting: Some(Err(why)), ..Glance::default() },
        };
        let (host, port) = (uri.authority.host, uri.authority.port);
        let seen = Arc::new(Seen::default());
        let greeting = async {
            let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| error.to_string())?;
            match uri.scheme {
                AMQPScheme::AMQP => greeted(tcp).await,
                AMQPScheme::AMQPS => greeted(secured(tcp, &host, &seen, self.identity.as_ref()).await?).await,
            }
        };
        let greeting =
            tokio::time::timeout(PATIENCE, greeting).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
        Glance { certificate: seen.taken(), greeting: Some(greeting) }
    }
}

/// The certificate that is shown at `host:port` to whoever begins TLS there, DER.
///
/// # Errors
/// When nobody is there, or speaks no TLS.
pub async fn certificate_at(host: &str, port: u16) -> Result<Vec<u8>, String> {
    let seen = Arc::new(Seen::default());
    let shaken = async {
        let tcp = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        secured(tcp, host, &seen, None).await.map(drop)
    };
    let shaken = tokio::time::timeout(PATIENCE, shaken).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
    match (seen.taken(), shaken) {
        (Some(certificate), _) => Ok(certificate),
        (None, Err(why)) => Err(why),
        (None, Ok(())) => Err("no certificate was shown".to_owned()),
    }
}

async fn secured(
    tcp: TcpStream,
    host: &str,
    seen: &Arc<Seen>,
    identity: Option<&(Vec<u8>, Vec<u8>)>,
) -> Result<impl AsyncRead + AsyncWrite + Unpin, String> {
    let builder = ClientConfig::builder_with_provider(seen.provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone());
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
            let chain = chain.map_err(|error| format!("the client certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the client key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("the client certificate: {error}"))?
        }
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())
}

async fn greeted(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Greeting, String> {
    let text = |error: std::io::Error| error.to_string();
    stream.write_all(b"AMQP\0\0\x09\x01").await.map_err(text)?;
    stream.flush().await.map_err(text)?;
    // Type, channel, size of the payload.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.map_err(text)?;
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if head[..3] != [1, 0, 0] || size > LONGEST {
        return Err("what answers there does not speak AMQP 0-9-1".to_owned());
    }
    let mut payload = vec![0; usize::try_from(size).unwrap_or_default()];
    stream.read_exact(&mut payload).await.map_err(text)?;
    match parse_class(payload.as_slice()) {
        Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) => Ok(Greeting::of(&start)),
        _ => Err("what answers there does not begin as AMQP 0-9-1 does".to_owned()),
    }
}

impl Greeting {
    fn of(start: &Start) -> Self {
        let said = |name: &str| match property(&start.server_properties, name) {
            Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
            _ => String::new(),
        };
        Self { product: said("product"), version: said("version"), platform: said("platform") }
    }
}

fn property<'a>(table: &'a FieldTable, name: &str) -> Option<&'a AMQPValue> {
    table.inner().iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
}

/// Keeps the certificate, and holds every one for good.
#[derive(Debug)]
struct Seen {
    provider: Arc<CryptoProvider>,
    certificate: Mutex<Option<Vec<u8>>>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { provider: Arc::new(aws_lc_rs::default_provider()), certificate: Mutex::default() }
    }
}

impl Seen {
    fn taken(&self) -> Option<Vec<u8>> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
