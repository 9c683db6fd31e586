//! The log's two formats, which are Prometheus's: logfmt and JSON, on standard error.

use std::fmt::{self, Write};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::flags::{LogFlags, LogFormat, LogLevel};

/// Sends the process's log to standard error. Called once, before anything logs.
pub fn install(flags: &LogFlags) {
    let level = match flags.level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // openraft tells every step of an election at info, and at warn every message that a dead
    // peer did not get, hundreds a second; what matters of either is ours to say, once.
    let theirs = if level >= LevelFilter::DEBUG { LevelFilter::WARN } else { LevelFilter::ERROR };
    let filter = Targets::new().with_default(level).with_target("openraft", theirs);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    match flags.format {
        LogFormat::Logfmt => {
            registry.with(layer.event_format(Logfmt).with_filter(filter)).init();
        }
        LogFormat::Json => {
            registry.with(layer.json().flatten_event(true).with_filter(filter)).init();
        }
    }
}

/// `time=… level=INFO source=… msg="…" field=value`.
struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("time=")?;
        SystemTime.format_time(&mut writer)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        write!(writer, " level={level} source={}", event.metadata().target())?;
        let mut fields = Fields { message: String::new(), rest: String::new() };
        event.record(&mut fields);
        writer.write_str(" msg=")?;
        write_value(&mut writer, &fields.message)?;
        writeln!(writer, "{}", fields.rest)
    }
}

struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        // Writing to a string cannot fail.
        let _ = write!(self.rest, " {}=", field.name());
        let _ = write_value(&mut self.rest, value);
    }
}

/// Quoted where a space, a quote or a control character would end it.
fn write_value(writer: &mut impl Write, value: &str) -> fmt::Result {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        writer.write_str(value)
    } else {
        write!(writer, "{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_would_be_misread_are_quoted() {
        let written = |value: &str| {
            let mut text = String::new();
            write_value(&mut text, value).unwrap();
            text
        };
        assert_eq!(written("n1"), "n1");
        assert_eq!(written(""), "\"\"");
        assert_eq!(written("a b"), "\"a b\"");
        assert_eq!(written("a=\"b\"\n"), "\"a=\\\"b\\\"\\n\"");
    }
}
