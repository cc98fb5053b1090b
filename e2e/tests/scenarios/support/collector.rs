//! An OpenTelemetry collector: it keeps what it is sent over gRPC.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A running collector; stops when dropped.
#[derive(Debug)]
pub struct Collector {
    /// Its port on loopback.
    pub port: u16,
    received: Arc<Received>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Received {
    logs: Mutex<Vec<LogRecord>>,
    spans: Mutex<Vec<(String, Span)>>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(list: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector {
    /// A collector on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let received = Arc::<Received>::default();
        let server = Server::builder()
            .add_service(logs::logs_service_server::LogsServiceServer::from_arc(received.clone()))
            .add_service(trace::trace_service_server::TraceServiceServer::from_arc(received.clone()));
        let task = tokio::spawn(async move {
            if let Err(error) = server.serve_with_incoming(TcpListenerStream::new(listener)).await {
                eprintln!("the collector stopped: {error}");
            }
        });
        Ok(Self { port, received, task })
    }

    /// The log records so far.
    pub fn logs(&self) -> Vec<LogRecord> {
        lock(&self.received.logs).clone()
    }

    /// The spans so far, with the services that they are of.
    pub fn spans(&self) -> Vec<(String, Span)> {
        lock(&self.received.spans).clone()
    }
}

/// The value of an attribute that is text.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref().and_then(text)
}

/// A value that is text.
pub fn text(value: &AnyValue) -> Option<&str> {
    match &value.value {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Received {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        lock(&self.logs).extend(scopes.flat_map(|scope| scope.log_records));
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Received {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attribute(&attributes, "service.name").unwrap_or_default().to_owned();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            lock(&self.spans).extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(Default::default()))
    }
}
