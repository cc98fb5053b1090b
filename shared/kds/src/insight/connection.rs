//! Counting what happens on a connection.

use std::sync::Arc;

use tandem_proto::system::v1alpha1::{KdsServiceStats, KdsSubscription};

use super::Insights;

/// One connection, counted in the insight of its zone until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) insights: Arc<Insights>,
    pub(super) zone: String,
    pub(super) id: String,
}

impl Connection {
    /// Notes what the peer told about itself.
    pub(crate) fn describe(&self, describe: impl FnOnce(&mut KdsSubscription)) {
        self.change(true, describe);
    }

    pub(crate) fn sent(&self, type_url: &str) {
        self.count(type_url, |stats| stats.responses_sent += 1);
    }

    pub(crate) fn answered(&self, type_url: &str, rejected: bool) {
        self.count(type_url, |stats| {
            if rejected {
                stats.responses_rejected += 1;
            } else {
                stats.responses_acknowledged += 1;
            }
        });
    }

    fn count(&self, type_url: &str, count: impl Fn(&mut KdsServiceStats)) {
        self.change(false, |subscription| {
            let status = subscription.status.get_or_insert_default();
            count(status.total.get_or_insert_default());
            count(status.stat.entry(type_url.to_owned()).or_default());
        });
    }

    fn change(&self, urgent: bool, change: impl FnOnce(&mut KdsSubscription)) {
        self.insights.change(&self.zone, urgent, |record| {
            if let Some(subscription) = record.subscriptions.get_mut(&self.id) {
                change(subscription);
                subscription.status.get_or_insert_default().last_update_time = Some(self.insights.now());
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.change(true, |subscription| subscription.disconnect_time = Some(self.insights.now()));
    }
}
