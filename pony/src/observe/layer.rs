//! From `tracing` to the log: every event becomes a message for all sinks.
//!
//! Spans are ignored. Nothing behind it uses `tracing`, so nothing comes back.

use std::fmt;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    filter::LevelFilter,
    layer::{Context, Layer},
};

use super::{
    event::{Message, Value},
    log::Log,
};
use crate::config::Severity;

/// Turns events of `level` and above into messages of `log`.
pub fn tracing_layer(log: Log, level: LevelFilter) -> LogLayer {
    LogLayer {
        log,
        level,
        special: None,
    }
}

/// See [`tracing_layer`].
#[derive(Debug)]
pub struct LogLayer {
    log: Log,
    level: LevelFilter,
    special: Option<(&'static str, LevelFilter)>,
}

impl LogLayer {
    /// Takes the events of one target from another level on.
    #[must_use]
    pub fn with_target(mut self, target: &'static str, level: LevelFilter) -> Self {
        self.special = Some((target, level));
        self
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        let level = match self.special {
            Some((target, level)) if metadata.target() == target => level,
            _ => self.level,
        };
        *metadata.level() <= level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(
            self.special
                .map_or(self.level, |(_, level)| level.max(self.level)),
        )
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let severity = severity(*event.metadata().level());
        let mut reader = Reader(Message::new(severity, ""));
        event.record(&mut reader);
        self.log.message(reader.0);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warning,
        Level::INFO => Severity::Info,
        _ => Severity::Debug,
    }
}

/// Reads the fields of one event into a message.
struct Reader(Message);

impl Reader {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.fields.push((field.name(), value));
    }

    fn add_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.0.text = text.into();
        } else {
            self.add(field, Value::Text(text));
        }
    }
}

impl Visit for Reader {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::Bool(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add_text(field, value.to_string());
    }
}

#[cfg(test)]
mod tests;
