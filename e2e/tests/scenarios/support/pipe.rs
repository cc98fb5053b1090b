//! What kuma-dp does with access logs: it reads them from a pipe and sends each to the server that it names.
//!
//! Source: Kuma `app/kuma-dp/pkg/dataplane/accesslogs`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// A pipe and who reads it; both are gone when it is dropped.
#[derive(Debug)]
pub struct LogPipe {
    task: JoinHandle<Result<()>>,
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LogPipe {
    /// The pipe at a path, made before Envoy opens it.
    pub fn start(path: &Path) -> Result<Self> {
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        // For writing too, so that it stays open when Envoy closes it.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let task = tokio::spawn(async move {
            let result = forward(pipe).await;
            if let Err(error) = &result {
                eprintln!("access logs are no longer sent on: {error:#}");
            }
            result
        });
        Ok(Self { task })
    }
}

/// Sends every line on: `{"address": …, "message": …}`, where the message is a text, sent as it is, or an object, sent as a line.
async fn forward(pipe: pipe::Receiver) -> Result<()> {
    let mut lines = BufReader::new(pipe).lines();
    while let Some(line) = lines.next_line().await? {
        let entry: Value = serde_json::from_str(&line).with_context(|| format!("the line {line:?}"))?;
        let address = entry["address"].as_str().with_context(|| format!("{line:?} has no address"))?;
        let message = match &entry["message"] {
            Value::String(text) => text.clone(),
            message @ Value::Object(_) => format!("{message}\n"),
            _ => anyhow::bail!("{line:?} has no message"),
        };
        TcpStream::connect(address).await?.write_all(message.as_bytes()).await?;
    }
    Ok(())
}

/// A server that keeps the lines it is sent over TCP; stops when dropped.
#[derive(Debug)]
pub struct LineServer {
    /// Its port on loopback.
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for LineServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LineServer {
    /// A server on a free port.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let received = lines.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = received.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stream).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        received.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    }
                });
            }
        });
        Ok(Self { port, lines, task })
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
