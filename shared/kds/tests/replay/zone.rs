//! A zone that speaks as a recorded one did, as the client of a global under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use prost::Message;
use tandem_kds::rpc::k_d_s_sync_service_client::KDSSyncServiceClient;
use tandem_kds::wire::{DeltaRequest, DeltaResource, DeltaResponse, Node};
use tandem_model::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use super::common::{PATIENCE, eventually};
use super::recording::{Response, Session, Way};

/// A response as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its type.
    pub kind: Kind,
    /// Size of the message without its number.
    pub size: usize,
    /// `<name>.<mesh>` and version of each resource.
    pub resources: BTreeMap<String, String>,
    /// Names of removed ones.
    pub removed: Vec<String>,
}

impl Arrived {
    /// Reads a response.
    pub fn read(response: &DeltaResponse) -> Self {
        let resources = response.resources.iter().map(|body| {
            let DeltaResource { name, version, .. } = DeltaResource::decode(body.clone()).expect("a resource");
            (name, version)
        });
        Self {
            kind: response.type_url.parse().expect("a known type"),
            size: as_of_kuma(response).encoded_len(),
            resources: resources.collect(),
            removed: response.removed_resources.clone(),
        }
    }
}

/// The response without its number, and without what only our control planes say.
fn as_of_kuma(response: &DeltaResponse) -> DeltaResponse {
    let (nonce, system_version_info) = (String::new(), String::new());
    DeltaResponse { nonce, system_version_info, ..response.clone() }
}

/// What a peer has got: names and versions, by type.
pub type State = BTreeMap<Kind, BTreeMap<String, String>>;

/// What has arrived so far.
#[derive(Debug, Clone, Default)]
pub struct Inbox(Arc<Mutex<Vec<Arrived>>>);

impl Inbox {
    /// Takes note of a response.
    pub fn push(&self, arrived: Arrived) {
        self.0.lock().push(arrived);
    }

    /// All responses of a type.
    pub fn of(&self, kind: Kind) -> Vec<Arrived> {
        self.0.lock().iter().filter(|arrived| arrived.kind == kind).cloned().collect()
    }

    /// What all responses together lead to.
    pub fn state(&self) -> State {
        let mut state = State::new();
        for arrived in self.0.lock().iter() {
            let of_kind = state.entry(arrived.kind).or_default();
            for name in &arrived.removed {
                of_kind.remove(name);
            }
            of_kind.extend(arrived.resources.clone());
        }
        state
    }
}

/// A connected zone. Acknowledges whatever it gets.
pub struct PlayedZone {
    name: String,
    /// What it got.
    pub inbox: Inbox,
    /// First requests of global.
    pub asked: Vec<DeltaRequest>,
    offers: mpsc::Sender<DeltaResponse>,
    answers: Streaming<DeltaRequest>,
}

impl PlayedZone {
    /// Connects and says what the zone said first: it subscribes to all that the recorded one subscribed to.
    pub async fn connect(global: SocketAddr, name: &str, session: &Session) -> Self {
        let channel =
            Channel::from_shared(format!("http://{global}")).expect("a URL").connect().await.expect("accepted");
        let client = KDSSyncServiceClient::new(channel)
            .send_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Gzip);
        let (requests, outgoing) = mpsc::channel(64);
        let down = {
            let (mut client, request) = (client.clone(), introduced(session, Way::Down, outgoing));
            tokio::spawn(async move { client.global_to_zone_sync(request).await.expect("admitted").into_inner() })
        };
        for request in session.subscriptions(Way::Down) {
            requests.send(request.clone()).await.expect("the stream is open");
        }
        let inbox = Inbox::default();
        let acknowledge = {
            let (name, inbox) = (name.to_owned(), inbox.clone());
            async move {
                let mut responses = down.await.expect("not cancelled");
                while let Ok(Some(response)) = responses.message().await {
                    inbox.push(Arrived::read(&response));
                    // The test may be over.
                    let _ = requests.send(acknowledgement(&name, &response)).await;
                }
            }
        };
        tokio::spawn(acknowledge);

        let (offers, outgoing) = mpsc::channel(64);
        let request = introduced(session, Way::Up, outgoing);
        let mut answers = client.clone().zone_to_global_sync(request).await.expect("admitted").into_inner();
        let mut asked = Vec::new();
        for _ in Kind::all().filter(|kind| kind.descriptor().direction.sent_to_global()) {
            let request = tokio::time::timeout(PATIENCE, answers.message()).await.expect("global asks in time");
            asked.push(request.expect("the stream is open").expect("the stream goes on"));
        }
        Self { name: name.to_owned(), inbox, asked, offers, answers }
    }

    /// Sends resources and waits for the answer; returns the complaint.
    pub async fn offer(&mut self, response: &Response) -> Option<String> {
        let content = response.content.as_ref().expect("its content is known");
        let message = DeltaResponse {
            type_url: response.kind.name().to_owned(),
            nonce: response.nonce.clone(),
            resources: content.resources.iter().map(|wired| wired.body.clone()).collect(),
            removed_resources: content.removed.clone(),
            control_plane: Some(tandem_kds::wire::ControlPlane { identifier: self.name.clone() }),
            ..DeltaResponse::default()
        };
        self.offers.send(message).await.expect("the stream is open");
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("global answers in time");
        let answer = answer.expect("the stream is open").expect("the stream goes on");
        assert_eq!((answer.type_url.as_str(), &answer.response_nonce), (response.kind.name(), &response.nonce));
        assert_eq!(answer.node.as_ref().map(|node| node.id.as_str()), Some(self.name.as_str()));
        answer.error_detail.map(|detail| detail.message)
    }

    /// Waits until what it has got is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        eventually(what, || wanted(&self.inbox.state())).await;
    }
}

fn introduced<M: Send + 'static>(
    session: &Session,
    way: Way,
    outgoing: mpsc::Receiver<M>,
) -> Request<ReceiverStream<M>> {
    let mut request = Request::new(ReceiverStream::new(outgoing));
    for (name, value) in &session.headers[&way] {
        let name: AsciiMetadataKey = name.parse().expect("a name of a header");
        let value: AsciiMetadataValue = value.parse().expect("a value of a header");
        request.metadata_mut().append(name, value);
    }
    request
}

/// Confirms a response.
pub fn acknowledgement(zone: &str, response: &DeltaResponse) -> DeltaRequest {
    DeltaRequest {
        node: Some(Node { id: zone.to_owned(), metadata: None }),
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..DeltaRequest::default()
    }
}
