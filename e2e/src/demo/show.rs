//! What the demo prints: progress on standard error, so that standard output can be read by a program.

use std::time::Duration;

use console::style;
use indicatif::{ProgressBar, ProgressStyle};

use super::measure::Journey;
use super::scene::{MESH, Scene};
use crate::world::World;

/// Prints for a person.
pub struct Show;

/// A step that is going on; shown until it is done or fails.
pub struct Step {
    bar: ProgressBar,
    name: String,
    started: std::time::Instant,
}

impl Show {
    /// Ready to print.
    pub fn new() -> Self {
        Self
    }

    /// Prints a line.
    pub fn line(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Prints what this is.
    pub fn title(&self) {
        self.line(&format!("\n{}  one mesh over two zones, with real Envoys\n", style("Tandem").bold()));
    }

    /// Begins a step.
    pub fn step(&self, name: &str) -> Step {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}");
        bar.set_style(style.expect("the template is a constant that indicatif accepts"));
        bar.set_message(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { bar, name: name.to_owned(), started: std::time::Instant::now() }
    }

    /// Prints what runs where.
    pub fn topology(&self, scene: &Scene) {
        let inbound = |proxy: &crate::proxy::Proxy| proxy.spec.resource["networking"]["inbound"][0]["port"].to_string();
        let port = |proxy: &crate::proxy::Proxy| proxy.spec.resource["networking"]["port"].to_string();
        self.line(&format!(
            "\n                         {}\n                  Mesh {MESH}, policies\n                     ╱          ╲   KDS (TLS)\n               {}              {}\n\
             \x20   ┌───────────────────────┐      ┌──────────────────────────┐\n\
             \x20   │ client                │      │              echo        │\n\
             \x20   │   ↓ :{:<17}│      │                ↑         │\n\
             \x20   │ sidecar → ZoneEgress  │ mTLS │ ZoneIngress → sidecar    │\n\
             \x20   │             :{:<9}│ ───→ │   :{:<9}  :{:<9}│\n\
             \x20   └───────────────────────┘      └──────────────────────────┘\n",
            style("global-cp").bold(),
            style("zone-1").bold(),
            style("zone-2").bold(),
            scene.outbound,
            port(&scene.egress),
            port(&scene.ingress),
            inbound(&scene.echo),
        ));
    }

    /// Prints the way of a request.
    pub fn journey(&self, journey: &Journey) {
        for (number, hop) in journey.hops.iter().enumerate() {
            self.line(&format!("      {}. {:<26} {}", number + 1, hop.proxy, style(&hop.evidence).dim()));
        }
        self.line(&format!("      answered by {}", style(&journey.server).bold()));
        self.line(&format!("      caller, as the server's proxy saw it:    {}", style(&journey.caller).cyan()));
        self.line(&format!("      callee, as the client's proxy demands it: {}\n", style(&journey.callee).cyan()));
    }

    /// Prints what can be tried while everything stays up.
    pub fn stay(&self, world: &World, scene: &Scene) {
        self.line(&format!("\n{}", style("Everything stays up until Ctrl-C. Try:").bold()));
        let global = world.global.api_url();
        let mut tries = vec![
            ("the request", format!("curl -i http://127.0.0.1:{}/hello", scene.outbound)),
            ("the web page", format!("{global}/gui/")),
            ("the mesh", format!("curl {global}/meshes/{MESH}")),
            ("the zones", format!("curl {global}/zones+insights")),
            ("all proxies", format!("curl {global}/meshes/{MESH}/dataplanes+insights")),
            ("metrics of global", format!("curl {}/metrics", world.global.diagnostics_url())),
            ("the client's Envoy", format!("http://127.0.0.1:{}/", scene.client.admin_port())),
        ];
        for zone in &world.zones {
            tries.push(("a zone", format!("curl {}/meshes", zone.control_plane.api_url())));
        }
        for (what, command) in tries {
            self.line(&format!("  {what:<20} {}", style(command).cyan()));
        }
    }
}

impl Step {
    /// Tells what is going on within the step.
    pub fn detail(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        if self.bar.is_hidden() {
            eprintln!("    {text}");
        }
    }

    /// Ends the step with what came of it.
    pub fn done(self, result: &str) {
        self.bar.finish_and_clear();
        eprintln!("  {} {result} {}", style("✔").green(), style(format!("({:.1?})", self.started.elapsed())).dim());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
            eprintln!("  {} {}", style("✘").red(), self.name);
        }
    }
}
