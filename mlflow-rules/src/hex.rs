//! Bytes as hexadecimal digits.

/// Returns the bytes as lower-case hexadecimal digits, two a byte.
// Input:  `[0x0f, 0xa0]`
// Output: `0fa0`
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_two_lower_case_digits_each() {
        assert_eq!(to_hex(&[0x0f, 0xa0, 0xff]), "0fa0ff");
        assert_eq!(to_hex(&[]), "");
    }
}
