//! The values of number and string literals.

use narthex_model::quote;

/// The value of a number by Go's rules: whole numbers in base 16, 8 or 10, otherwise a float.
/// An error is the text of Go's.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(whole) = parse_whole(text) {
        return Ok(whole as f64);
    }
    let refuse = |why| format!("strconv.ParseFloat: parsing {}: {why}", quote(text));
    let digits: String = text.chars().filter(|char| *char != '_').collect();
    let named = matches!(digits.to_ascii_lowercase().as_str(), "inf" | "nan");
    let value: f64 = digits.parse().map_err(|_| refuse("invalid syntax"))?;
    if value.is_infinite() && !named {
        return Err(refuse("value out of range"));
    }
    Ok(value)
}

/// Base 16 behind `0x`, base 8 behind another `0`, base 10 otherwise; `_` between digits.
fn parse_whole(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|char| *char != '_').collect();
    let lower = digits.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    match lower.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).ok(),
        _ => lower.parse().ok(),
    }
}

/// The bytes of a quoted literal whose escapes the lexer has checked.
pub(crate) fn unquote(literal: &str) -> Vec<u8> {
    let inner = &literal[1..literal.len() - 1];
    if literal.starts_with('`') || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = push_escape(&mut bytes, &rest[at + 1..]);
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Appends what the escape behind a backslash stands for; returns what follows it.
fn push_escape<'a>(bytes: &mut Vec<u8>, escape: &'a str) -> &'a str {
    let (digits, base, skip) = match escape.as_bytes()[0] {
        b'x' => (2, 16, 1),
        b'u' => (4, 16, 1),
        b'U' => (8, 16, 1),
        b'0'..=b'7' => (3, 8, 0),
        letter => {
            bytes.push(match letter {
                b'a' => 0x07,
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                other => other,
            });
            return &escape[1..];
        }
    };
    let (number, rest) = escape[skip..].split_at(digits);
    let value = u32::from_str_radix(number, base).expect("the lexer checked the digits");
    if digits <= 3 {
        bytes.push(value as u8);
    } else {
        let char = char::from_u32(value).expect("the lexer checked the code point");
        bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    }
    rest
}

/// Bytes that are no UTF-8, quoted as Go does with `%q`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let valid = quote(chunk.valid()).to_string();
        quoted.push_str(&valid[1..valid.len() - 1]);
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_go() {
        let cases = [
            ("1", 1.0),
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("Inf", f64::INFINITY),
        ];
        for (text, value) in cases {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("nAn").is_ok_and(f64::is_nan));
        let refused = parse_number("1e999").expect_err("too large");
        assert_eq!(refused, r#"strconv.ParseFloat: parsing "1e999": value out of range"#);
    }

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(unquote(r#""a\n\"\x41\101\u00e9""#), "a\n\"AAé".as_bytes());
        assert_eq!(unquote(r"`a\n`"), br"a\n");
        assert_eq!(quote_bytes(&unquote(r#""a\xc5z""#)), r#""a\xc5z""#);
    }
}
