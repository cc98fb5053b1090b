//! The load on the HTTP API (`--api`): durable writes, reads of single resources, and pages of a long list.
//!
//! The control plane is a zone without a global one. Each client has one connection and one request under way at a time, as
//! scripts and tools do; the resources are Dataplanes, the kind of which there are most.

pub(super) mod client;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use tempfile::TempDir;

use super::definition::Definition;
use super::options::{Options, WatchedPid};
use super::progress::{Phase, REFRESH};
use super::report::round;
use super::target::{await_mesh, binary, watched};
use super::usage;
use crate::api::Api;
use crate::process::{ControlPlane, ControlPlaneOptions};
use client::Client;
use report::{Report, Requests};

/// Items of a page in the phase that reads lists: the most that the API gives.
const PAGE: usize = 1_000;

/// Runs the load that the options describe and returns the report, as text or as JSON.
///
/// # Errors
/// When the control plane cannot be started or reached, or answers a request with an unexpected status.
pub(super) async fn run(options: &Options) -> Result<String> {
    let target = Target::prepare(options).await?;
    await_mesh(&Api::new(format!("http://{}", target.authority))?, &options.mesh).await?;
    let definition = Arc::new(Definition::new(options));
    let resources = options.resources;
    let path = move |definition: &Definition, index: usize| {
        format!("/meshes/{}/dataplanes/{}", definition.mesh, definition.name(index))
    };

    let before = target.usage()?;
    let bodies = definition.clone();
    let writes = Plan { clients: options.clients, until: Until::Count(resources), expect: StatusCode::CREATED };
    let put = target
        .load("Writing resources", &writes, move |index| {
            let body = bodies.resource(index).to_string();
            (Method::PUT, path(&bodies, index), Bytes::from(body))
        })
        .await?;
    let written = target.usage()?;

    let names = definition.clone();
    let reads = Plan { clients: options.readers, until: Until::Time(options.time), expect: StatusCode::OK };
    let get = target
        .load("Reading single resources", &reads, move |index| {
            // A stride without a common divisor visits all resources in an order that no cache likes.
            (Method::GET, path(&names, index.wrapping_mul(7_919) % resources), Bytes::new())
        })
        .await?;

    let mesh = definition.mesh.clone();
    let pages = resources.div_ceil(PAGE);
    let lists = Plan { clients: 1, until: Until::Time(options.time), expect: StatusCode::OK };
    let list = target
        .load("Reading pages of the list", &lists, move |index| {
            let offset = (index % pages) * PAGE;
            (Method::GET, format!("/meshes/{mesh}/dataplanes?size={PAGE}&offset={offset}"), Bytes::new())
        })
        .await?;
    let end = target.usage()?;

    let report = Report {
        resources,
        put,
        get,
        list,
        rss_bytes_before: before.rss,
        rss_bytes_written: written.rss,
        rss_bytes_end: end.rss,
        cpu_seconds: round(end.cpu.saturating_sub(before.cpu).as_secs_f64()),
        generator_cpu_seconds: round(usage::read_self()?.cpu.as_secs_f64()),
    };
    if options.json { Ok(serde_json::to_string(&report)?) } else { Ok(report.text()) }
}

/// The control plane under load.
struct Target {
    /// `host:port` of its HTTP API.
    authority: String,
    watched: Vec<WatchedPid>,
    _started: Option<(ControlPlane, TempDir)>,
}

/// How long a phase goes on.
#[derive(Clone, Copy)]
enum Until {
    Count(usize),
    Time(Duration),
}

/// One phase.
struct Plan {
    clients: usize,
    until: Until,
    expect: StatusCode,
}

impl Target {
    async fn prepare(options: &Options) -> Result<Self> {
        let (url, watched, started) = if options.start {
            let binary = binary("zone-cp", options.zone_binary.as_ref()).await?;
            let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
            let mut prepared = ControlPlaneOptions::new(binary, dir.path());
            prepared.env.extend(options.env.iter().cloned());
            let _phase = Phase::open_ended("Starting a zone control plane");
            let zone = ControlPlane::start_zone("load", None, prepared).await?;
            (zone.api_url(), vec![watched("zone", &zone)?], Some((zone, dir)))
        } else {
            let url = options.zone.clone().context("--api needs --start, or --zone of a zone without a global one")?;
            (url, options.pid.clone(), None)
        };
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned());
        let authority = authority.ok_or_else(|| anyhow!("{url:?} must begin with http://"))?;
        Ok(Self { authority, watched, _started: started })
    }

    /// Of the first measured process; nothing when none is.
    fn usage(&self) -> Result<usage::Usage> {
        Ok(usage::read_all(&self.watched)?.into_iter().next().unwrap_or_default())
    }

    /// Sends the requests that `request` makes of their numbers until the phase is over.
    async fn load<R>(&self, name: &str, plan: &Plan, request: R) -> Result<Requests>
    where
        R: Fn(usize) -> (Method, String, Bytes) + Clone + Send + 'static,
    {
        let next = Arc::new(AtomicUsize::new(0));
        let (limit, end) = match plan.until {
            Until::Count(count) => (count, None),
            Until::Time(time) => (usize::MAX, Some(Instant::now() + time)),
        };
        let (started, before) = (Instant::now(), self.usage()?);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..plan.clients {
            let mut client = Client::connect(&self.authority).await?;
            let (next, request, expect) = (next.clone(), request.clone(), plan.expect);
            tasks.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let index = next.fetch_add(1, Relaxed);
                    if index >= limit || end.is_some_and(|end| Instant::now() >= end) {
                        return Ok(times);
                    }
                    let (method, path, body) = request(index);
                    let sent = Instant::now();
                    let (status, answer) = client.send(method, &path, body).await?;
                    times.push(sent.elapsed());
                    if status != expect {
                        bail!("{path} answered {status}: {}", String::from_utf8_lossy(&answer));
                    }
                }
            });
        }
        let phase = match plan.until {
            Until::Count(count) => Phase::counted(name, count),
            Until::Time(_) => Phase::open_ended(name),
        };
        let mut times = Vec::new();
        let mut refresh = tokio::time::interval(REFRESH);
        loop {
            tokio::select! {
                done = tasks.join_next() => match done {
                    Some(done) => times.append(&mut done??),
                    None => {
                        let took = started.elapsed();
                        let cpu = self.usage()?.cpu.saturating_sub(before.cpu);
                        return Ok(Requests::new(plan.clients, times, took, cpu));
                    }
                },
                _ = refresh.tick() => phase.at(next.load(Relaxed).min(limit)),
            }
        }
    }
}
