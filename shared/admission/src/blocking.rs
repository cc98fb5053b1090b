//! Work that takes long on the processor: kept away from the threads that serve requests.

use std::fmt::Display;

use crate::error::Reason;

/// Runs `work` on a thread for blocking work; its error is a fault of this control plane.
pub(crate) async fn run<T: Send + 'static, E: Display + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Reason> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Reason::Internal(error.to_string())),
        Err(error) => Err(Reason::Internal(format!("could not finish: {error}"))),
    }
}
