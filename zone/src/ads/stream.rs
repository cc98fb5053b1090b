//! One stream of a proxy: takes in requests, regenerates when something changed, and answers when the client can take it.
//!
//! The stream is its own driver: it is polled when the connection has room for a response, so a client that does not read
//! costs neither memory nor the time of others, and the newest state is encoded only when it can be sent.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tandem_xds::ResourceType;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tracing::debug;

use super::request;
use super::retries::Retries;
use super::transition::Transition;
use super::variant::{Received, Variant};
use crate::allowance::Allowance;
use crate::grpc::Messages;
use crate::proxy::arrivals::first_request_missing;
use crate::proxy::context::ProxyContext;
use crate::proxy::session::Session;
use crate::refusals::{Door, Reason, Refusals};

/// Requests that answer no response, of which a proxy may send as many at once. A new configuration makes it ask for what it names.
const BURST: u32 = 10_000;
/// Such requests that it may send each second besides.
const PER_SECOND: u32 = 100;

/// What all streams share.
pub type AdsContext = ProxyContext;

/// Opens the stream of a proxy; the proxy is known from its first request on.
pub fn open<V: Variant>(
    context: Arc<AdsContext>,
    metadata: &MetadataMap,
    requests: Messages<V::Request>,
) -> BoxStream<'static, Result<Bytes, Status>> {
    let credential = credential(metadata, &context.refusals, Door::Ads);
    let stream = AdsStream::<V> {
        context,
        credential,
        requests,
        variant: V::default(),
        session: None,
        retries: Retries::default(),
        transition: Transition::default(),
        opened: Instant::now(),
        allowance: Allowance::new(BURST, PER_SECOND),
        sent: false,
        ended: false,
    };
    futures::stream::unfold(stream, |mut stream| async move {
        let item = stream.next().await?;
        Some((item, stream))
    })
    .boxed()
}

/// The token of a stream, empty when there is none. Anything else than one text is refused, and counted at the door.
///
/// # Errors
/// When there is more than one, or it is no text.
pub fn credential(metadata: &MetadataMap, refusals: &Refusals, door: Door) -> Result<String, Status> {
    let values: Vec<_> = metadata.get_all("authorization").iter().collect();
    let credential = match values.as_slice() {
        [] => Ok(String::new()),
        [value] => value
            .to_str()
            .map(str::to_owned)
            .map_err(|_| Status::unauthenticated("the \"authorization\" header is not text")),
        several => {
            Err(Status::unknown(format!("request must have exactly 1 \"authorization\" header, got {}", several.len())))
        }
    };
    credential.map_err(|status| refusals.with(door, Reason::TokenMalformed, status))
}

struct AdsStream<V: Variant> {
    context: Arc<AdsContext>,
    credential: Result<String, Status>,
    requests: Messages<V::Request>,
    variant: V,
    session: Option<Session>,
    retries: Retries,
    transition: Transition,
    opened: Instant,
    /// A response was sent, and the others had no turn since.
    sent: bool,
    /// Requests that answer no response.
    allowance: Allowance,
    ended: bool,
}

enum Event<R> {
    Request(R),
    Changed,
    /// Another stream of the same proxy wants to know whether somebody is there.
    Asked,
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
                        && let Some(old) = Box::pin(session.refresh()).await
                        && let Some(new) = session.resources()
                    {
                        self.transition.begin(&old, new);
                    }
                }
                Event::Asked => self.ask_for_a_sign(),
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
        let Self { requests, session, context, retries, transition, opened, .. } = self;
        let opened = *opened;
        let session_event = async {
            let Some(session) = session else {
                return Err(first_request_missing(
                    opened,
                    context.settings.limits.first_request,
                    &context.refusals,
                    Door::Ads,
                )
                .await);
            };
            tokio::select! {
                () = session.changed() => Ok(Event::Changed),
                () = session.life().asked() => Ok(Event::Asked),
                () = session.life().displaced() => {
                    Err(Status::unavailable("another stream of the same proxy took the place of this one, which gave no sign of life"))
                }
            }
        };
        tokio::select! {
            request = requests.message() => Ok(match request {
                Ok(Some(request)) => Event::Request(request),
                Ok(None) => Event::Ended,
                Err(status) => {
                    // What cannot be read is the client's fault and answered; when the connection broke, nobody hears it.
                    debug!(%status, "stream of a proxy cannot be read on");
                    return Err(context.refusals.unreadable(Door::Ads, status));
                }
            }),
            event = session_event => event,
            () = retries.wait() => Ok(Event::Retry),
            () = transition.wait() => Ok(Event::Transition),
            () = context.shutdown.cancelled() => Err(Status::unavailable("control plane is shutting down")),
        }
    }

    /// Sends the client something that it has to answer.
    fn ask_for_a_sign(&mut self) {
        let Some(session) = &self.session else { return };
        let can_ask = session.resources().is_some_and(|resources| {
            let staged = self.transition.stage(resources, &self.variant);
            self.variant.ask(staged)
        });
        if !can_ask {
            // Who was never sent anything cannot be asked; the kernel finds out whether its connection is alive.
            session.life().heard();
        }
    }

    /// Ends the stream of a client that asks for more, or more often, than any proxy does.
    fn check_use(&mut self, received: &Received) -> Result<(), Status> {
        let answers = matches!(received, Received::Acknowledged(_) | Received::Rejected(..));
        // Responses are sent one at a time, and so are the answers to them.
        if !answers && let Err(error) = self.allowance.take() {
            let status = Status::resource_exhausted(error.to_string());
            return Err(self.context.refusals.with(Door::Ads, Reason::TooManyRequests, status));
        }
        let (asked, limit) = (self.variant.subscription_size(), self.context.settings.limits.subscription);
        if asked > limit {
            let status = Status::resource_exhausted(format!(
                "the names that the stream asks for have {asked} bytes together; the limit is {limit} \
                 (dpServer.limits.maxSubscriptionSize, KUMA_DP_SERVER_LIMITS_MAX_SUBSCRIPTION_SIZE)"
            ));
            return Err(self.context.refusals.with(Door::Ads, Reason::TooManyNames, status));
        }
        Ok(())
    }

    fn malformed(&self, status: Status) -> Status {
        self.context.refusals.with(Door::Ads, Reason::MessageMalformed, status)
    }

    async fn receive(&mut self, request: V::Request) -> Result<(), Status> {
        let node = V::node(&request);
        match &self.session {
            Some(session) => session.check_node(&request::node_id(node).map_err(|status| self.malformed(status))?)?,
            None if node.is_empty() => {
                let status = Status::invalid_argument("the first request of a stream must carry a node");
                return Err(self.context.refusals.with(Door::Ads, Reason::NodeInvalid, status));
            }
            None if node.len() > self.context.settings.limits.node => {
                let status = Status::resource_exhausted(format!(
                    "the proxy describes itself and its resource in {} bytes; the limit is {} (dpServer.limits.maxNodeSize, \
                     KUMA_DP_SERVER_LIMITS_MAX_NODE_SIZE)",
                    node.len(),
                    self.context.settings.limits.node
                ));
                return Err(self.context.refusals.with(Door::Ads, Reason::MessageTooLarge, status));
            }
            None => {
                // Nobody asks for it again.
                let credential = std::mem::replace(&mut self.credential, Ok(String::new()))?;
                let node = request::node(node).map_err(|status| self.malformed(status))?;
                // Boxed: what happens once must not make the stream larger for as long as it is open.
                self.session = Some(Box::pin(Session::open(self.context.clone(), node, credential)).await?);
            }
        }
        let Some(session) = &mut self.session else { return Ok(()) };
        session.life().heard();
        let received = self.variant.receive(request);
        let received = received.map_err(|status| self.context.refusals.with(Door::Ads, Reason::Protocol, status))?;
        self.check_use(&received)?;
        let Some(session) = &mut self.session else { return Ok(()) };
        match received {
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
