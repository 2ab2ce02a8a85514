//! [`Array`]: the elements of an array of JSON, one after the other, however its lines are broken.

use std::io::{self, BufRead};

/// Array of JSON that is read from its beginning.
pub(super) struct Array<R> {
    reader: R,
    /// Largest element that is read.
    max_bytes: usize,
    element: Vec<u8>,
    /// Line of the next byte, from 1.
    line: u64,
    is_over: bool,
}

/// Text of an element.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) text: &'a [u8],
    /// Line in which the element begins.
    pub(super) line: u64,
    /// False if the file has ended before the array has.
    pub(super) is_ended: bool,
}

impl<R: BufRead> Array<R> {
    /// Creates the elements of an array behind whose `[` the reader is, in the line `line`.
    pub(super) fn new(reader: R, line: u64, max_bytes: usize) -> Self {
        Self {
            reader,
            max_bytes,
            element: Vec::new(),
            line,
            is_over: false,
        }
    }

    /// Reads the next element; `None` behind the last one.
    pub(super) fn next_element(&mut self) -> io::Result<Option<Element<'_>>> {
        self.element.clear();
        let mut start = self.line;
        let mut is_ended = false;
        let mut depth = 0_u32;
        let (mut is_in_text, mut is_escaped) = (false, false);
        while !self.is_over {
            let Some(byte) = self.next_byte()? else {
                self.is_over = true;
                break;
            };
            match byte {
                _ if is_in_text => {
                    is_in_text = is_escaped || byte != b'"';
                    is_escaped = !is_escaped && byte == b'\\';
                }
                b',' if depth == 0 => {
                    is_ended = true;
                    break;
                }
                b']' if depth == 0 => {
                    is_ended = true;
                    self.is_over = true;
                    break;
                }
                b'"' => is_in_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                b' ' | b'\t' | b'\r' | b'\n' if self.element.is_empty() => {
                    start = self.line;
                    continue;
                }
                _ => {}
            }
            if self.element.len() == self.max_bytes {
                return Err(io::Error::other(format!(
                    "the element in line {start} is too long: expected one of at most {} MiB",
                    self.max_bytes >> 20
                )));
            }
            self.element.push(byte);
        }
        if self.element.is_empty() && self.is_over {
            return Ok(None);
        }
        Ok(Some(Element {
            text: &self.element,
            line: start,
            is_ended,
        }))
    }

    fn next_byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.reader.fill_buf()?.first().copied();
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_at_commas_outside_of_texts_and_objects() {
        for (text, elements) in [
            ("]", &[][..]),
            (
                " 1 , [2,3],\n{\"a\":\"]}\\\",\"}\n]",
                &[
                    ("1 ", 1, true),
                    ("[2,3]", 1, true),
                    ("{\"a\":\"]}\\\",\"}\n", 2, true),
                ],
            ),
            ("1,{\"a\":", &[("1", 1, true), ("{\"a\":", 1, false)]),
            ("", &[]),
        ] {
            let mut array = Array::new(text.as_bytes(), 1, 100);
            let mut found = Vec::new();
            while let Some(element) = array.next_element().expect("bytes") {
                let Element {
                    text,
                    line,
                    is_ended,
                } = element;
                found.push((String::from_utf8_lossy(text).into_owned(), line, is_ended));
            }
            let elements: Vec<_> = { elements.iter() }
                .map(|(text, line, is_ended)| ((*text).to_owned(), *line, *is_ended))
                .collect();
            assert_eq!(found, elements, "{text}");
        }
    }

    #[test]
    fn an_element_that_is_too_long_is_an_error() {
        let text = format!("\"{}\"]", "x".repeat(200));
        let mut array = Array::new(text.as_bytes(), 1, 100);
        assert!(array.next_element().is_err());
    }
}
