//! Logs: JSON for machines or text for people, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Log, LogFormat};

/// Starts logging for this process. A second call changes nothing.
pub fn init(config: &Log) {
    // lapin shouts about every return and closed channel; whoever caused one here reports what matters of it.
    let filter = EnvFilter::try_new(format!("lapin=off,sqlx=warn,{}", config.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let _ = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).compact().try_init(),
    };
}
