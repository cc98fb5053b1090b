//! A host with a network namespace of its own.

use std::future::Future;
use std::net::IpAddr;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::network::NetworkError;

/// A host. Its namespace is that of one thread, which runs everything that happens on the host: sockets that are made there
/// and processes that are started there belong to it.
#[derive(Debug)]
pub struct Pod {
    addresses: [IpAddr; 2],
    thread: u32,
    runtime: Handle,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Pod {
    /// Starts the thread of a pod that is to have these addresses, in IPv4 and IPv6.
    pub(super) async fn start(addresses: [IpAddr; 2]) -> Result<Self, NetworkError> {
        let (started, start) = oneshot::channel();
        let (_stop, stop) = oneshot::channel();
        thread::spawn(move || {
            let isolated = unshare(CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
            let runtime = isolated.and_then(|()| Builder::new_current_thread().enable_all().build());
            match runtime {
                Ok(runtime) => {
                    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
                    // Nobody waits for the pod any more if this fails; then the end follows at once.
                    started.send(Ok((thread, runtime.handle().clone()))).ok();
                    runtime.block_on(stop).ok();
                    runtime.shutdown_background();
                }
                Err(error) => drop(started.send(Err(error))),
            }
        });
        let ended = || std::io::Error::other("its thread ended");
        let started = start.await.unwrap_or_else(|_| Err(ended()));
        let (thread, runtime) = started.map_err(|error| NetworkError::new("start a pod", error))?;
        Ok(Self { addresses, thread, runtime, _stop })
    }

    /// Its IPv4 address.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }

    /// Its IPv6 address.
    pub fn address_v6(&self) -> IpAddr {
        self.addresses[1]
    }

    /// Id of its thread.
    pub(super) fn thread(&self) -> u32 {
        self.thread
    }

    /// Does something on the host.
    ///
    /// # Panics
    /// When it does.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match self.runtime.spawn(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
