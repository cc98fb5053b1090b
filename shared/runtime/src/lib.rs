//! What every process needs: configuration, logs, metrics, diagnostics, shutdown.
