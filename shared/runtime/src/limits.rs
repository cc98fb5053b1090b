//! Limits that the system puts on the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many open files a control plane runs into trouble early.
const FEW: u64 = 4096;

/// Raises the limit of open files to the highest that is allowed; every connection needs one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let now = if raised.is_ok() { limit.maximum } else { limit.current };
    if let Some(files) = now.filter(|files| *files < FEW) {
        tracing::warn!(files, "few open files are allowed; raise the limit (ulimit -n) for more connections");
    }
}
