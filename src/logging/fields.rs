//! How a line of text says what an event has: the message, then `name=value` for each field.
//!
//! The library paints every name and every sign of equality, in no colour too. For the line of a request that takes
//! longer than all the rest of it.

use std::{
    fmt::{self, Debug, Write},
    mem,
};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// The field that is the text of an event.
const MESSAGE: &str = "message";
/// What the names of fields begin with that come with lines of the `log` crate; the library has written them already.
const OF_LOG: &str = "log.";

/// Writes fields.
#[derive(Debug)]
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            is_first: true,
            result: Ok(()),
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let name = field.name();
        if self.result.is_ok() && !name.starts_with(OF_LOG) {
            self.result = self.try_add(name, write);
        }
    }

    fn try_add(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) -> fmt::Result {
        if !mem::replace(&mut self.is_first, false) {
            self.writer.write_char(' ')?;
        }
        if name != MESSAGE {
            self.writer.write_str(name.strip_prefix("r#").unwrap_or(name))?;
            self.writer.write_char('=')?;
        }
        write(&mut self.writer)
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, |writer| write!(Harmless(writer), "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            return self.record_debug(field, &format_args!("{value}"));
        }
        self.add(field, |writer| {
            if !value.bytes().all(is_plain) {
                return write!(writer, "{value:?}");
            }
            writer.write_char('"')?;
            writer.write_str(value)?;
            writer.write_char('"')
        });
    }
}

/// Whether a byte stands for itself between quotes.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Lets no text give orders to a terminal. Ends of lines and tabulators stay.
struct Harmless<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Harmless<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let gives_orders = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
        let mut rest = text;
        while let Some(at) = rest.find(gives_orders) {
            let (before, order) = rest.split_at(at);
            let mut letters = order.chars();
            self.0.write_str(before)?;
            if let Some(letter) = letters.next() {
                write!(self.0, "{}", letter.escape_default())?;
            }
            rest = letters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// A log in memory.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(own: bool, events: fn()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        if own {
            tracing::subscriber::with_default(lines.fmt_fields(Fields).finish(), events);
        } else {
            tracing::subscriber::with_default(lines.finish(), events);
        }
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_are_those_of_the_library() {
        let events = || {
            let error = io::Error::other("it broke");
            tracing::info!(
                method = "POST",
                status = 200_u16,
                model = None::<&str>,
                seconds = 0.25,
                "request"
            );
            tracing::warn!(%error, ratio = f64::NAN, r#type = "a", "an image failed");
            tracing::error!(error = &error as &dyn std::error::Error, list = ?[1, 2], flag = true, minus = -3);
            tracing::info!(text = "a \"quoted\" \\ line\nand ü \u{7f} \u{1b}[31m", message = "text");
            tracing::info!("{} and {:?}", "two\tparts", "three");
            let span = tracing::info_span!("inside", of = "a span", number = 4);
            let _inside = span.enter();
            tracing::info!(last = 1, "the last");
        };
        let own = logged(true, events);
        assert_eq!(own, logged(false, events));
        assert!(own.contains("request method=\"POST\" status=200 seconds=0.25"), "{own}");
    }

    #[test]
    fn nothing_gives_orders_to_a_terminal() {
        let line = logged(true, || {
            let error = io::Error::other("\u{1b}c");
            tracing::info!(%error, "before \u{1b}[2J \u{9b} behind");
        });
        assert!(
            line.contains("before \\u{1b}[2J \\u{9b} behind error=\\u{1b}c\n"),
            "{line}"
        );
    }
}
