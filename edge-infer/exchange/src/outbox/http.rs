//! One HTTP request: sent, timed, and its outcome sorted into received, later and refused.

use std::time::Duration;

use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::DeliverError;

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 4 << 20;

/// A server's address and how to come in.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    authorization: Option<String>,
    agent: ureq::Agent,
}

/// Why an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address.
    #[error("{0:?} begins with neither https:// nor http://")]
    Url(String),
    /// The certificates.
    #[error("the root certificates are no PEM file with certificates")]
    Certificates,
}

/// What the server answered, of the 2xx kind or one that the sender reads itself.
pub(super) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Endpoint {
    /// The server at `url`, given `time` for each request. `authorization` is the whole value of that header
    /// (`Bearer ...`, `Basic ...`). With `roots` (PEM) those alone are trusted; without, the web's.
    ///
    /// # Errors
    /// Where the address or the certificates are none.
    pub fn new(
        url: &str,
        authorization: Option<String>,
        roots: Option<&[u8]>,
        time: Duration,
    ) -> Result<Self, EndpointError> {
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(EndpointError::Url(url.to_owned()));
        }
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(time))
            .http_status_as_error(false)
            // A result must not follow a redirect to who knows where.
            .max_redirects(0)
            .max_redirects_will_error(false);
        if let Some(pem) = roots {
            let roots = RootCerts::new_with_certs(&certificates(pem)?);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, authorization, agent: config.build().new_agent() })
    }

    /// Posts `body` to the address followed by `path`. An answer whose status is in `own` comes back whatever it
    /// is.
    pub(super) fn post(
        &self,
        path: &str,
        content_type: &str,
        accept: &str,
        body: &[u8],
        own: &[u16],
    ) -> Result<Answer, DeliverError> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("content-type", content_type)
            .header("accept", accept);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let mut answer =
            request.send(body).map_err(|error| DeliverError::later(plainly(&error)))?;
        let status = answer.status().as_u16();
        if !(200..300).contains(&status) && !own.contains(&status) {
            let wait = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok());
            return Err(sorted(status, wait));
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        // Without its whole answer it is not known whether it has the item: it is sent again.
        let body = body.map_err(|error| DeliverError::later(plainly(&error)))?;
        Ok(Answer { status, body })
    }
}

/// What a status without success means for the item. What is wrong with the way (address, credentials, load) passes
/// or is mended by a person while the item waits; what is wrong with the item does not pass.
fn sorted(status: u16, retry_after: Option<&str>) -> DeliverError {
    let reason = format!("HTTP {status}");
    match status {
        300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 409 | 421 | 423 | 425 | 429 | 500.. => {
            let after = retry_after.and_then(|text| text.trim().parse().ok());
            DeliverError::Later { reason, after: after.map(Duration::from_secs) }
        }
        _ => DeliverError::Refused { reason },
    }
}

/// The kind of failure, without the address that may be in the library's words.
fn plainly(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        ureq::Error::HostNotFound => "the server's name is not known".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::Io(error) => format!("the connection: {}", error.kind()),
        ureq::Error::Rustls(error) => format!("TLS: {error}"),
        ureq::Error::BodyExceedsLimit(_) => "the answer is too long".into(),
        _ => "the exchange failed".into(),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>, EndpointError> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| EndpointError::Certificates)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err(EndpointError::Certificates) } else { Ok(certificates) }
}
