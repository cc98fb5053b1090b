//! One stream of a proxy: takes in requests, regenerates when something changed, and answers when the client can take it.
//!
//! The stream is its own driver: it is polled when the connection has room for a response, so a client that does not read
//! costs neither memory nor the time of others, and the newest state is encoded only when it can be sent.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tandem_xds::ResourceType;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};
use tracing::debug;

use super::request;
use super::retries::Retries;
use super::transition::Transition;
use super::variant::{Received, Variant};
use crate::proxy::context::ProxyContext;
use crate::proxy::session::Session;

/// What all streams share.
pub type AdsContext = ProxyContext;

/// Opens the stream of a proxy; the proxy is known from its first request on.
pub fn open<V: Variant>(
    context: Arc<AdsContext>,
    request: tonic::Request<Streaming<V::Request>>,
) -> BoxStream<'static, Result<Bytes, Status>> {
    let credential = credential(request.metadata());
    let stream = AdsStream::<V> {
        context,
        credential,
        requests: request.into_inner(),
        variant: V::default(),
        session: None,
        retries: Retries::default(),
        transition: Transition::default(),
        sent: false,
        ended: false,
    };
    futures::stream::unfold(stream, |mut stream| async move {
        let item = stream.next().await?;
        Some((item, stream))
    })
    .boxed()
}

/// The token of a stream, empty when there is none.
pub fn credential(metadata: &MetadataMap) -> Result<String, Status> {
    let values: Vec<_> = metadata.get_all("authorization").iter().collect();
    match values.as_slice() {
        [] => Ok(String::new()),
        [value] => value
            .to_str()
            .map(str::to_owned)
            .map_err(|_| Status::unauthenticated("the \"authorization\" header is not text")),
        several => {
            Err(Status::unknown(format!("request must have exactly 1 \"authorization\" header, got {}", several.len())))
        }
    }
}

struct AdsStream<V: Variant> {
    context: Arc<AdsContext>,
    credential: Result<String, Status>,
    requests: Streaming<V::Request>,
    variant: V,
    session: Option<Session>,
    retries: Retries,
    transition: Transition,
    /// A response was sent, and the others had no turn since.
    sent: bool,
    ended: bool,
}

enum Event<R> {
    Request(R),
    Changed,
    Retry,
    Transition,
    Ended,
}

impl<V: Variant> AdsStream<V> {
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        if self.ended {
            return None;
        }
        match self.advance().await {
            Ok(Some(body)) => Some(Ok(body)),
            Ok(None) => None,
            Err(status) => {
                self.ended = true;
                self.session = None;
                Some(Err(status))
            }
        }
    }

    /// Works until there is a response to send, or the stream is over.
    async fn advance(&mut self) -> Result<Option<Bytes>, Status> {
        // When many proxies have something coming, each gets its first response before any gets its second.
        if std::mem::take(&mut self.sent) {
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(session) = &self.session
                && let Some(resources) = session.resources()
                && let staged = self.transition.stage(resources, &self.variant)
                && let Some(push) = self.variant.next(staged, &self.context.settings.instance_id)
            {
                session.subscription().sent(push.resource_type);
                self.sent = true;
                return Ok(Some(push.body));
            }
            match self.wait().await? {
                Event::Ended => return Ok(None),
                Event::Changed => {
                    if let Some(session) = &mut self.session
                        && let Some(old) = session.refresh().await
                        && let Some(new) = session.resources()
                    {
                        self.transition.begin(&old, new);
                    }
                }
                Event::Retry => {
                    for resource_type in self.retries.due() {
                        self.variant.resend(resource_type);
                    }
                }
                // The next look at what to send finds out what it is time for.
                Event::Transition => {}
                Event::Request(request) => self.receive(request).await?,
            }
        }
    }

    async fn wait(&mut self) -> Result<Event<V::Request>, Status> {
        let Self { requests, session, context, retries, transition, .. } = self;
        let changed = async {
            match session {
                Some(session) => session.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = requests.message() => Ok(match request {
                Ok(Some(request)) => Event::Request(request),
                Ok(None) => Event::Ended,
                Err(status) => {
                    // What cannot be read is the client's fault and answered; when the connection broke, nobody hears it.
                    debug!(%status, "stream of a proxy cannot be read on");
                    return Err(status);
                }
            }),
            () = changed => Ok(Event::Changed),
            () = retries.wait() => Ok(Event::Retry),
            () = transition.wait() => Ok(Event::Transition),
            () = context.shutdown.cancelled() => Err(Status::unavailable("control plane is shutting down")),
        }
    }

    async fn receive(&mut self, request: V::Request) -> Result<(), Status> {
        let node = V::node(&request);
        match &self.session {
            Some(session) => session.check_node(&request::node_id(node)?)?,
            None if node.is_empty() => {
                return Err(Status::invalid_argument("the first request of a stream must carry a node"));
            }
            None => {
                let credential = self.credential.clone()?;
                self.session = Some(Session::open(self.context.clone(), request::node(node)?, credential).await?);
            }
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        match self.variant.receive(request)? {
            Received::Acknowledged(resource_type) => {
                session.subscription().acknowledged(resource_type);
                self.transition.accepted(resource_type);
                if self.variant.is_refusing(resource_type) {
                    self.retries.go_on(resource_type);
                } else {
                    self.retries.end(resource_type);
                    session.accepted(resource_type);
                }
                let has_secrets = |resources| self.variant.is_current(ResourceType::Secret, resources);
                if resource_type == ResourceType::Secret && session.resources().is_some_and(has_secrets) {
                    session.confirm_certificate();
                }
            }
            Received::Rejected(resource_type, reason) => {
                self.retries.begin(resource_type);
                self.transition.rejected(resource_type);
                session.rejected(resource_type, &reason);
            }
            Received::Subscribed | Received::Ignored => {}
        }
        Ok(())
    }
}
