//! What every request passes on its way to the routes, and every answer on its way back.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response};
use door::current::{Current, X_REQUEST_ID};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

use super::client;
use super::metrics::Counts;
use super::pace::{Answer, Pace};

/// Answers below this are sent as they are, in bytes: they fit into one packet either way.
const COMPRESS_FROM: u64 = 1024;

/// One listener's side that all of its connections share.
pub(super) struct Door {
    plain: TowerToHyperService<Router>,
    /// The same routes, their answers compressed.
    compressed: TowerToHyperService<Router>,
    trusted: Arc<[IpNet]>,
    pub(super) metrics: Counts,
}

impl Door {
    pub(super) fn new(routes: Router, trusted: Arc<[IpNet]>, metrics: Counts) -> Self {
        let worth_it = SizeAbove::new(COMPRESS_FROM).and(NotForContentType::SSE);
        // The processor is for jobs: most of the gain is in the fastest level.
        let layer = CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest).compress_when(worth_it);
        let compressed = TowerToHyperService::new(routes.clone().layer(layer));
        Self { plain: TowerToHyperService::new(routes), compressed, trusted, metrics }
    }

    /// Only what is read is worth compressing: the answer to a submission is small, and its way is kept short.
    fn routes(&self, method: &Method) -> &TowerToHyperService<Router> {
        if *method == Method::GET { &self.compressed } else { &self.plain }
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        client::address(peer, headers, &self.trusted)
    }
}

/// One connection's way to the routes.
pub(super) struct Front {
    pub(super) door: Arc<Door>,
    pub(super) pace: Arc<Pace>,
    pub(super) peer: IpAddr,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<Answer<Body>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let busy = self.pace.busy();
        let current = Current::new(request.headers(), Some(self.door.client(self.peer, request.headers())));
        let line = Line::begin(&request);
        let answering = self.door.routes(request.method()).call(request);
        Box::pin(async move {
            let mut response = current.clone().scope(answering).await?;
            if let Some(line) = line {
                line.end(&current, &response);
            }
            response.headers_mut().insert(X_REQUEST_ID, current.id().clone());
            Ok(response.map(|body| Answer { body, _busy: busy }))
        })
    }
}

/// A line about each request, for who asks for it with `log.level = "info,access=debug"`. Without the query: it may hold secrets.
struct Line {
    method: Method,
    path: String,
    begun: Instant,
}

impl Line {
    fn begin<B>(request: &Request<B>) -> Option<Self> {
        let wanted = tracing::enabled!(target: "access", tracing::Level::DEBUG);
        wanted.then(|| Self { method: request.method().clone(), path: request.uri().path().to_owned(), begun: Instant::now() })
    }

    fn end<B>(self, current: &Current, response: &Response<B>) {
        tracing::debug!(
            target: "access",
            { request.id = current.id_text(),
            client = current.client().map(tracing::field::display),
            http.method = %self.method,
            http.path = self.path,
            http.status = response.status().as_u16(),
            seconds = self.begun.elapsed().as_secs_f64() },
            "answered"
        );
    }
}
