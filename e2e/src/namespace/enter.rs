//! Becoming a process that may make networks.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use rustix::process::{getegid, geteuid};

/// Exit status of a process that found that the system forbids what it is about.
pub const FORBIDDEN: u8 = 77;

/// Moves this process into a network namespace of its own, in which it may do everything, and runs `command` in its place.
/// Whoever may not make one moves into a user namespace first, which only a process with a single thread can do.
///
/// Returns only when that fails.
pub fn enter(mut command: Command) -> io::Error {
    match isolate() {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

fn isolate() -> io::Result<()> {
    match unshare(CloneFlags::CLONE_NEWNET) {
        Err(Errno::EPERM) => {}
        done => return Ok(done?),
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // Without this nobody but root may map groups.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}
