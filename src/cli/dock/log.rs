//! Log lines on standard error: for the journal with a priority and without a time, else with one.

use std::fmt;
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::edge::clock;

/// What is logged unless `$DOCKSEAL_LOG` says otherwise, such as `debug` or `info,hyper=debug`.
const TARGETS_DEFAULT: &str = "warn,dockseal=info";

/// Begins logging. `default` is used where the environment says nothing.
pub(super) fn begin(default: Option<&str>) {
    let wanted = std::env::var("DOCKSEAL_LOG").ok();
    let wanted = wanted.as_deref().or(default).unwrap_or(TARGETS_DEFAULT);
    let targets = wanted.parse::<tracing_subscriber::filter::Targets>();
    let targets =
        targets.unwrap_or_else(|_| TARGETS_DEFAULT.parse().expect("the default is well formed"));
    // systemd connects standard error to the journal and says so (systemd.exec(5)).
    let for_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let style = if for_journal { Style::Journal } else { Style::Terminal };
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).event_format(style);
    // A second call, in tests, keeps the first.
    let _ = tracing_subscriber::registry().with(layer).with(targets).try_init();
}

enum Style {
    Journal,
    Terminal,
}

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self {
            // sd-daemon(3): the number is syslog's.
            Style::Journal => write!(out, "<{}>", priority(level))?,
            Style::Terminal => write!(out, "{} {:5} ", clock::now(), level.as_str())?,
        }
        let mut line = Line::default();
        event.record(&mut line);
        // A log line is one line, whatever a server answered.
        let text = format!("{}{}", line.message, line.fields);
        writeln!(out, "{}", text.replace(char::is_control, " "))
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            // Writing into a String cannot fail.
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        use fmt::Write;
        let _ = write!(self.fields, " {}={value}", field.name());
    }
}
