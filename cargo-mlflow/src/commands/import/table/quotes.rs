//! Separators and quotes of CSV text, as far as a reader of records does not tell of them: the separator that a header
//! has, and a quote that is not closed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Part of a file in which the end of the header is looked for.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Characters that separate columns. Of those with equally many columns the first one counts.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Header of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) delimiter: u8,
    /// True if a line ends with a carriage return and a line feed.
    pub(super) ends_with_crlf: bool,
    /// Line of a quote that is not closed before the end of the file.
    pub(super) open_quote: Option<u64>,
}

impl Header {
    /// Reads the header of a file.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MAX_HEADER_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(Self::of(&bytes))
    }

    fn of(text: &[u8]) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let mut quotes = Quotes::new(1);
        let mut counts = DELIMITERS.map(|_| 0_u32);
        let mut ends_with_crlf = false;
        for (at, byte) in text.iter().enumerate() {
            quotes.take(*byte, &DELIMITERS);
            if quotes.place == Place::Quoted {
                continue;
            }
            if matches!(byte, b'\n' | b'\r') && counts.iter().any(|count| *count > 0) {
                ends_with_crlf = text.get(at..).is_some_and(|rest| rest.starts_with(b"\r\n"));
                break;
            }
            for (delimiter, count) in DELIMITERS.iter().zip(&mut counts) {
                *count += u32::from(delimiter == byte);
            }
        }
        let most = counts.iter().max().copied().unwrap_or_default();
        let found = DELIMITERS.iter().zip(counts);
        let delimiter = { found.into_iter() }
            .find(|(_, count)| *count == most)
            .map_or(b',', |(delimiter, _)| *delimiter);
        let is_whole = (text.len() as u64) < MAX_HEADER_BYTES;
        Self {
            delimiter,
            ends_with_crlf,
            open_quote: quotes.open_line().filter(|_| is_whole),
        }
    }
}

/// Returns the line of a quote that is not closed before the end of the file. The search begins with the record at the
/// byte `start`, in the line `line`.
pub(super) fn unclosed_quote(
    path: &Path,
    start: u64,
    line: u64,
    delimiter: u8,
) -> io::Result<Option<u64>> {
    let mut file = BufReader::new(File::open(path)?);
    file.seek(SeekFrom::Start(start))?;
    let mut quotes = Quotes::new(line);
    loop {
        let part = file.fill_buf()?;
        if part.is_empty() {
            return Ok(quotes.open_line());
        }
        for byte in part {
            quotes.take(*byte, &[delimiter]);
        }
        let length = part.len();
        file.consume(length);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field, which ends the field unless another quote follows.
    Closing,
}

/// Place in a text, seen from the quotes in it.
struct Quotes {
    place: Place,
    line: u64,
    /// Line in which the last quoted field begins.
    opened: u64,
}

impl Quotes {
    fn new(line: u64) -> Self {
        Self {
            place: Place::FieldStart,
            line,
            opened: line,
        }
    }

    fn take(&mut self, byte: u8, delimiters: &[u8]) {
        self.place = match (self.place, byte) {
            (Place::Quoted, b'"') => Place::Closing,
            (Place::Quoted, _) | (Place::Closing, b'"') => Place::Quoted,
            (Place::FieldStart, b'"') => {
                self.opened = self.line;
                Place::Quoted
            }
            (_, b'\n' | b'\r') => Place::FieldStart,
            (_, byte) if delimiters.contains(&byte) => Place::FieldStart,
            _ => Place::Unquoted,
        };
        self.line += u64::from(byte == b'\n');
    }

    /// Returns the line of the quote that is open here.
    fn open_line(&self) -> Option<u64> {
        (self.place == Place::Quoted).then_some(self.opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_separator() {
        for (text, delimiter) in [
            ("step,loss\n1;2;3\n", b','),
            ("\nstep;loss\n", b';'),
            ("step;\"a,b,c\"\n", b';'),
            ("\u{feff}\"a;b;c\",loss\n", b','),
            ("step\tloss\n", b'\t'),
            ("a|b,c\n", b','),
            ("step", b','),
            ("", b','),
        ] {
            assert_eq!(Header::of(text.as_bytes()).delimiter, delimiter, "{text:?}");
        }
    }

    #[test]
    fn an_open_quote_is_found() {
        for (text, line) in [
            ("a,\"b\n", Some(1)),
            ("\"a\n\"\"b,", Some(1)),
            ("a,\"b\"\"\",c\n1,\"2\n", None),
            ("a\",b", None),
        ] {
            assert_eq!(Header::of(text.as_bytes()).open_quote, line, "{text:?}");
        }
    }
}
