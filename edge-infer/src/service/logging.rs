//! Where the log goes: standard error, for people on a terminal or in the journal of the system.
//!
//! Under systemd standard error is the system's journal, which has the time already and takes each line's level
//! from a prefix `<N>` (sd-daemon(3)). What is logged stays on the device after the records are gone: no line
//! may hold a person's name or number, nor a path or label that came with a photograph.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, format};
use tracing_subscriber::registry::LookupSpan;

/// Warnings of our own, errors of all.
const DEFAULT_FILTER: &str = "error,edge_infer=warn,glaucoma_engine=warn,glaucoma_exchange=warn,\
                              glaucoma_kiosk=warn,glaucoma_records=warn";

/// Who reads standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// A person, or a file.
    Plain,
    /// The system's journal.
    Journal,
}

/// Starts the log on standard error: warnings of our own and errors of all, or what `RUST_LOG` asks for.
pub fn start() -> Log {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if is_journal() {
        log.event_format(WithLevel(format().with_ansi(false).with_level(false).without_time()))
            .init();
        Log::Journal
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
        Log::Plain
    }
}

impl Log {
    /// Prints why the program ends, whatever `RUST_LOG` asks for.
    pub fn last_word(self, message: &str) {
        let message = format!("error: {message}");
        match self {
            Self::Plain => eprintln!("{message}"),
            Self::Journal => eprint!("{}", prefixed(Level::ERROR, &message)),
        }
    }
}

/// Whether standard error is the stream that systemd names in the environment: a program that redirects it
/// inherits the name all the same.
#[cfg(unix)]
fn is_journal() -> bool {
    use std::os::fd::AsFd;
    let named = std::env::var("JOURNAL_STREAM").ok();
    let Some((device, inode)) = named.as_deref().and_then(|named| named.split_once(':')) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
}

#[cfg(not(unix))]
fn is_journal() -> bool {
    false
}

/// Lines with their level as the journal reads it.
struct WithLevel(Format<Full, ()>);

impl<S> FormatEvent<S, DefaultFields> for WithLevel
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&prefixed(*event.metadata().level(), &line))
    }
}

/// `text` with `<N>` before each line, as a line without one would have another level.
fn prefixed(level: Level, text: &str) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    text.trim_end().lines().fold(String::new(), |mut lines, line| {
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "<{priority}>{line}");
        lines
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_level() {
        assert_eq!(prefixed(Level::ERROR, "one\ntwo\n"), "<3>one\n<3>two\n");
        assert_eq!(prefixed(Level::WARN, "one"), "<4>one\n");
        assert_eq!(prefixed(Level::INFO, "one"), "<6>one\n");
        assert_eq!(prefixed(Level::TRACE, "one"), "<7>one\n");
    }
}
