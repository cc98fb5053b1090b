//! Progress shown while the generator waits: a bar on a terminal, a line for each phase elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is brought up to date.
pub(super) const REFRESH: Duration = Duration::from_millis(100);

/// Shows one phase at a time on standard error.
pub(super) struct Phase(ProgressBar);

impl Phase {
    /// Begins a phase that counts up to `total`.
    pub(super) fn counted(text: &str, total: usize) -> Self {
        announce(text);
        let bar = ProgressBar::new(total as u64).with_message(text.to_owned());
        let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}");
        bar.set_style(style.expect("the template is a constant that indicatif accepts"));
        bar.enable_steady_tick(REFRESH);
        Self(bar)
    }

    /// Begins a phase whose length is not known.
    pub(super) fn open_ended(text: &str) -> Self {
        announce(text);
        let bar = ProgressBar::new_spinner().with_message(text.to_owned());
        bar.enable_steady_tick(REFRESH);
        Self(bar)
    }

    /// Says something in between.
    pub(super) fn note(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            self.0.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// Shows how far the phase is.
    pub(super) fn at(&self, position: usize) {
        self.0.set_position(position as u64);
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn announce(text: &str) {
    if !std::io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}
