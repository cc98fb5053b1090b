//! How much the endpoint does at a time.
//!
//! Anybody can ask for a bootstrap configuration, and after an outage everybody does. What requests may keep in memory together is
//! limited, and few are worked on at a time, in the order in which they came: streams that serve proxies keep their latency. A request
//! that has no turn in time is told to come again; kuma-dp tries again every three seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tandem_runtime::http::BodyTimeout;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// Longest wait for a turn.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// How long an answer of the name server is used.
const KEEP_ANSWER: Duration = Duration::from_secs(30);
/// Longest wait for the name server.
const MAX_LOOKUP: Duration = Duration::from_secs(2);

/// Settings of [`BootstrapLimits`].
#[derive(Debug, Clone, Copy)]
pub struct BootstrapLimitSettings {
    /// Largest body of a request, in bytes (`bootstrapServer.maxRequestSize`).
    pub request: usize,
    /// Most bytes of bodies of requests that are not answered yet (`bootstrapServer.maxMemory`).
    pub memory: usize,
    /// How many requests are worked on at a time.
    pub turns: usize,
}

/// Why a request is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It is larger than is accepted.
    #[error(
        "the request is larger than {0} bytes (bootstrapServer.maxRequestSize, KUMA_BOOTSTRAP_SERVER_MAX_REQUEST_SIZE)"
    )]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The connection broke.
    #[error("the request cannot be read: {0}")]
    Broken(String),
    /// There is too much to do.
    #[error("too many proxies ask for their bootstrap configuration at once; try again later")]
    Overloaded,
}

/// What requests have to share.
#[derive(Debug)]
pub struct BootstrapLimits {
    settings: BootstrapLimitSettings,
    memory: Arc<Semaphore>,
    turns: Semaphore,
    /// Hosts that have IPv4 addresses only or not, with the time of the answer. All wait for one who asks.
    families: Mutex<HashMap<String, (Instant, bool)>>,
}

/// A body that was read, and its share of the memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Vec<u8>,
    _memory: Option<OwnedSemaphorePermit>,
}

impl BootstrapLimits {
    /// Nothing is in use.
    pub fn new(settings: BootstrapLimitSettings) -> Self {
        let memory = settings.memory.min(Semaphore::MAX_PERMITS);
        let turns = Semaphore::new(settings.turns.max(1));
        Self { settings, memory: Arc::new(Semaphore::new(memory)), turns, families: Mutex::default() }
    }

    /// Reads a body.
    pub(super) async fn read(&self, mut body: Body) -> Result<ReadBody, NotRead> {
        let mut read = ReadBody { bytes: Vec::new(), _memory: None };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if BodyTimeout::caused(&error) { NotRead::TooSlow } else { NotRead::Broken(error.to_string()) }
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if read.bytes.len() + data.len() > self.settings.request {
                return Err(NotRead::TooLarge(self.settings.request));
            }
            let share = u32::try_from(data.len()).map_err(|_| NotRead::TooLarge(self.settings.request))?;
            let share = self.memory.clone().try_acquire_many_owned(share).map_err(|_| NotRead::Overloaded)?;
            match &mut read._memory {
                Some(memory) => memory.merge(share),
                none => *none = Some(share),
            }
            read.bytes.extend_from_slice(&data);
        }
        Ok(read)
    }

    /// Waits for the turn to work on a request; the turn ends when it is dropped.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, NotRead> {
        let turn = timeout(MAX_WAIT, self.turns.acquire()).await.map_err(|_| NotRead::Overloaded)?;
        // Whatever else is ready to run is served between two requests.
        tokio::task::yield_now().await;
        Ok(turn.expect("nobody closes the semaphore"))
    }

    /// True for a name, other than `localhost`, that resolves to IPv4 addresses alone.
    ///
    /// `host` is one of the few that this control plane is known by, so the answers stay few.
    pub(super) async fn has_only_ipv4(&self, host: &str) -> bool {
        if host == "localhost" || host.parse::<IpAddr>().is_ok() {
            return false;
        }
        let mut families = self.families.lock().await;
        if let Some((asked, answer)) = families.get(host)
            && asked.elapsed() < KEEP_ANSWER
        {
            return *answer;
        }
        let answer = match timeout(MAX_LOOKUP, tokio::net::lookup_host((host, 0))).await {
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.collect();
                !addresses.is_empty() && addresses.iter().all(std::net::SocketAddr::is_ipv4)
            }
            Ok(Err(_)) | Err(_) => false,
        };
        families.insert(host.to_owned(), (Instant::now(), answer));
        answer
    }
}
