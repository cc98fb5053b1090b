//! Metrics of the process: one registry that all components register into.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};

use crate::instance::InstanceId;
use crate::version::{KUMA_VERSION, PRODUCT, Version};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a process. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Metrics that all carry the label `zone`: the name of the zone, or `Global`.
    pub fn new(zone: &str) -> Self {
        let labels = [("zone".into(), zone.to_owned().into())];
        let mut registry = Registry::with_labels(labels.into_iter());
        registry.register_collector(Box::new(Process { started: SystemTime::now() }));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Lets a component register its metrics. To be done once at start: the registry does not notice duplicates.
    pub fn register<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock())
    }

    /// Registers `cp_info`, which says what runs here.
    pub fn register_identity(&self, version: Version, instance: &InstanceId) {
        let info = Info::new(vec![
            ("product", PRODUCT.to_owned()),
            ("version", KUMA_VERSION.to_owned()),
            ("build_version", version.version.to_owned()),
            ("git_commit", version.short_commit().to_owned()),
            ("instance_id", instance.to_string()),
            ("cluster_id", String::new()),
        ]);
        self.register(|registry| registry.register("cp", "What this control plane is", info));
    }

    /// All metrics in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())
            .expect("writing to a String does not fail");
        text
    }
}

/// Resources that the process uses, read when asked for.
#[derive(Debug)]
struct Process {
    started: SystemTime,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        #[allow(clippy::cast_precision_loss)] // seconds of CPU time are far below 2^52
        let cpu = ConstCounter::new(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
        let help = "Total user and system CPU time spent in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;

        let started = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds", started)?;
        if let Some(memory) = memory() {
            gauge("process_virtual_memory_bytes", "Virtual memory size in bytes", memory.size)?;
            gauge("process_resident_memory_bytes", "Resident memory size in bytes", memory.resident)?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            #[allow(clippy::cast_precision_loss)] // a number of files
            gauge("process_open_fds", "Number of open file descriptors", files.count() as f64)?;
        }
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            #[allow(clippy::cast_precision_loss)] // a number of files
            gauge("process_max_fds", "Maximum number of open file descriptors", limit as f64)?;
        }
        Ok(())
    }
}

struct Memory {
    size: f64,
    resident: f64,
}

/// Memory of the process in bytes; `None` where there is no `/proc`.
fn memory() -> Option<Memory> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').map(|pages| pages.parse::<f64>());
    #[allow(clippy::cast_precision_loss)] // a page is some kilobytes
    let page = rustix::param::page_size() as f64;
    Some(Memory { size: pages.next()?.ok()? * page, resident: pages.next()?.ok()? * page })
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_carry_the_zone_and_process_metrics_are_there() {
        let metrics = Metrics::new("east");
        let counter: Counter = Counter::default();
        metrics.register(|registry| registry.register("seen", "What was seen", counter.clone()));
        metrics.register_identity(Version::current(), &InstanceId::generate());
        counter.inc();
        let text = metrics.encode();
        assert!(text.contains("seen_total{zone=\"east\"} 1"), "{text}");
        assert!(text.contains("cp_info{zone=\"east\",product=\"Kuma\",version=\"2.13.10\""), "{text}");
        for name in
            ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"]
        {
            let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).expect(name);
            let value: f64 = line.rsplit_once(' ').expect("value").1.parse().expect("number");
            assert!(value > 0.0, "{line}");
        }
    }
}
