//! When a client is sent again what it refused.
//!
//! Most refusals are about the content, and the same content is refused again. Some are about the moment: a port that another process
//! has, memory that is short. So the same is sent again, ever more seldom.

use std::collections::BTreeMap;
use std::time::Duration;

use tandem_xds::ResourceType;
use tokio::time::{Instant, sleep_until};

/// Pause before what was refused is sent again; doubled each time.
const FIRST: Duration = Duration::from_secs(5);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// What one client refused.
#[derive(Debug, Default)]
pub struct Retries(BTreeMap<ResourceType, Retry>);

#[derive(Debug)]
struct Retry {
    pause: Duration,
    /// `None` while the answer to the last attempt is awaited.
    at: Option<Instant>,
}

impl Retries {
    /// A response of a type was refused.
    pub fn begin(&mut self, resource_type: ResourceType) {
        let pause = self.0.get(&resource_type).map_or(FIRST, |retry| (retry.pause * 2).min(LONGEST));
        self.0.insert(resource_type, Retry { pause, at: Some(Instant::now() + pause) });
    }

    /// Another response of a type was taken, but what was refused is refused still.
    pub fn go_on(&mut self, resource_type: ResourceType) {
        if let Some(retry) = self.0.get_mut(&resource_type) {
            retry.at.get_or_insert(Instant::now() + retry.pause);
        }
    }

    /// Nothing of a type is refused any more.
    pub fn end(&mut self, resource_type: ResourceType) {
        self.0.remove(&resource_type);
    }

    /// Resolves when something is due; never when nothing was refused.
    pub async fn wait(&self) {
        match self.0.values().filter_map(|retry| retry.at).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// The types that are due.
    pub fn due(&mut self) -> Vec<ResourceType> {
        let now = Instant::now();
        let due = self.0.iter_mut().filter(|(_, retry)| retry.at.is_some_and(|at| at <= now));
        due.map(|(resource_type, retry)| {
            retry.at = None;
            *resource_type
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_is_sent_ever_more_seldom() {
        let mut retries = Retries::default();
        let begin = Instant::now();
        for expected in [5, 15, 35] {
            retries.begin(ResourceType::Listener);
            assert!(retries.due().is_empty());
            retries.wait().await;
            assert_eq!(begin.elapsed().as_secs(), expected);
            assert_eq!(retries.due(), [ResourceType::Listener]);
            assert!(retries.due().is_empty(), "the answer is awaited");
        }
        for _ in 0..10 {
            retries.begin(ResourceType::Listener);
        }
        let before = Instant::now();
        retries.wait().await;
        assert_eq!(before.elapsed(), LONGEST);
        retries.end(ResourceType::Listener);
        assert!(tokio::time::timeout(LONGEST * 2, retries.wait()).await.is_err(), "nothing is to be sent again");
    }
}
