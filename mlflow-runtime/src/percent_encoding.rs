//! Percent-encoding, as in URIs (RFC 3986).

use std::borrow::Cow;

/// Decodes percent-encoded text. Returns `None` if a `%` is not followed by two hex digits, or if the result
/// is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

/// Appends `path` to a URL. Percent-encodes everything but unreserved characters and `/`.
pub(crate) fn push_encoded_path(url: &mut String, path: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url.push('%');
            url.extend(
                [byte >> 4, byte & 15]
                    .map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or('0')),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let mut url = String::new();
        push_encoded_path(&mut url, "dir/ü a+b:c?.txt");
        assert_eq!(url, "dir/%C3%BC%20a%2Bb%3Ac%3F.txt");
        assert_eq!(percent_decode(&url).as_deref(), Some("dir/ü a+b:c?.txt"));
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(broken), None, "{broken}");
        }
    }
}
