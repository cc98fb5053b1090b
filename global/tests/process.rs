//! The program as an operator starts it: ready, stopped, and refused with a reason.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a start or stop may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
struct Ports {
    diagnostics: u16,
    api: u16,
    api_tls: u16,
    zones: u16,
}

/// Ports that are free now.
fn free_ports() -> Ports {
    let listeners: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("some port is free")).collect();
    let port = |index: usize| listeners[index].local_addr().expect("bound").port();
    Ports { diagnostics: port(0), api: port(1), api_tls: port(2), zones: port(3) }
}

fn command(folder: &Path, ports: Ports, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_global-cp"));
    command
        .arg("run")
        .env_clear()
        .env("HOME", folder)
        .env("KUMA_GENERAL_WORK_DIR", folder)
        .env("KUMA_DIAGNOSTICS_SERVER_PORT", ports.diagnostics.to_string())
        .env("KUMA_API_SERVER_HTTP_PORT", ports.api.to_string())
        .env("KUMA_API_SERVER_HTTPS_PORT", ports.api_tls.to_string())
        .env("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", ports.zones.to_string())
        .envs(more.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Status line and body of a GET.
fn get(port: u16, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

fn wait_until_ready(child: &mut Child, ports: Ports) {
    let began = Instant::now();
    loop {
        if get(ports.diagnostics, "/ready").is_some_and(|(status, _)| status.contains(" 200 ")) {
            return;
        }
        if let Some(status) = child.try_wait().expect("a child") {
            let mut text = String::new();
            child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
            panic!("ended with {status}: {text}");
        }
        assert!(began.elapsed() < PATIENCE, "not ready in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks the process to end; true when it ended well.
fn stop(mut child: Child) -> bool {
    let killed = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    child.wait().expect("ended").success()
}

/// Starts a global control plane that is expected to refuse; returns what it says.
fn refusal(folder: &Path, ports: Ports, more: &[(&str, &str)]) -> String {
    let output = command(folder, ports, more).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn is_ready_when_everything_is_served_keeps_its_state_and_ends_when_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    let mut versions = Vec::new();
    for _ in 0..2 {
        let mut child = command(folder.path(), ports, &[]).spawn().expect("the program runs");
        wait_until_ready(&mut child, ports);
        for port in [ports.api_tls, ports.zones] {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "ready, but {port} is not served");
        }
        let (status, body) = get(ports.api, "/meshes/default").expect("served");
        assert!(status.contains(" 200 "), "{status}");
        versions.push(body);
        assert!(stop(child), "ends with status 0");
    }
    assert_eq!(versions[0], versions[1], "the mesh of the first start is that of the second");
}

#[test]
fn says_what_is_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports();
    for key in ["KUMA_DIAGNOSTICS_SERVER_PORT", "KUMA_API_SERVER_HTTP_PORT", "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT"] {
        // A port that somebody has for certain; one that was free a moment ago may not be any more.
        let taken = TcpListener::bind(("0.0.0.0", 0)).expect("some port is free");
        let port = taken.local_addr().expect("bound").port().to_string();
        let text = refusal(folder.path(), ports, &[(key, &port)]);
        assert!(text.contains(&port) && text.contains(key), "{text}");
    }
    let text = refusal(
        folder.path(),
        ports,
        &[("KUMA_GENERAL_TLS_CERT_FILE", "/no/such.crt"), ("KUMA_GENERAL_TLS_KEY_FILE", "/no/such.key")],
    );
    assert!(text.contains("/no/such."), "{text}");
    let text = refusal(folder.path(), ports, &[("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT", "many")]);
    assert!(text.contains("KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT"), "{text}");

    let store = folder.path().join("broken");
    std::fs::write(&store, b"this is no database").expect("written");
    let path = store.to_string_lossy();
    let text = refusal(folder.path(), ports, &[("KUMA_STORE_SLED_PATH", &path)]);
    assert!(text.contains(&*path), "{text}");
}
