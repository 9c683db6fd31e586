//! Numbers of the exposition format, read exactly as Go's `strconv.ParseFloat` reads them within
//! what Prometheus allows: no hexadecimal form, no underscores, no sign before `NaN`, and a
//! number beyond the range of doubles is an error, not an infinity.

/// The NaN that a page's `NaN` becomes: not the staleness marker.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Digits that fit a double exactly: 2^53 has 16, so 15 always do.
const EXACT_DIGITS: usize = 15;

/// Reads a number, which must take all of `text`.
pub fn parse_value(text: &[u8]) -> Option<f64> {
    short_decimal(text).or_else(|| any_number(text))
}

/// Few digits and a small power of ten: both are exact doubles, hence so is their correctly
/// rounded product or quotient.
fn short_decimal(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let mut mantissa = 0u64;
    let mut count = 0usize;
    let mut exponent = 0i32;
    let mut behind_point = false;
    let mut at = 0;
    while let Some(&byte) = digits.get(at) {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                count += 1;
                exponent -= i32::from(behind_point);
                if count > EXACT_DIGITS {
                    return None;
                }
            }
            b'.' if !behind_point => behind_point = true,
            b'e' | b'E' => {
                exponent += short_exponent(&digits[at + 1..])?;
                break;
            }
            _ => return None,
        }
        at += 1;
    }
    if count == 0 {
        return None;
    }
    let power = EXACT_POWERS.get(exponent.unsigned_abs() as usize)?;
    let value = if exponent < 0 { mantissa as f64 / power } else { mantissa as f64 * power };
    Some(if negative { -value } else { value })
}

fn short_exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

fn any_number(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("nan") {
        return (unsigned.len() == text.len()).then_some(f64::from_bits(NORMAL_NAN_BITS));
    }
    let value: f64 = text.parse().ok()?;
    let names_infinity = unsigned.starts_with(['i', 'I']);
    (value.is_finite() || names_infinity).then_some(value)
}

/// Reads a timestamp in milliseconds.
pub fn parse_millis(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.starts_with('+') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_that_are_numbers() {
        let cases: &[(&str, f64)] = &[
            ("0", 0.0),
            ("-0", -0.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+03", 1000.0),
            ("9.223372036854776e+18", 9.223372036854776e18),
            ("4.9e-324", 5e-324),
            ("1e-400", 0.0),
            ("1.7976931348623157e308", f64::MAX),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
            ("123456789012345678901234567890", 123_456_789_012_345_680_000_000_000_000.0),
        ];
        for (text, value) in cases {
            let read = parse_value(text.as_bytes()).expect(text);
            assert_eq!(read.to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(parse_value(b"NaN").expect("a number").to_bits(), NORMAL_NAN_BITS);
        assert_eq!(parse_value(b"nan").expect("a number").to_bits(), NORMAL_NAN_BITS);
    }

    #[test]
    fn forms_that_are_none() {
        for text in [
            "", "-", "+", ".", "e5", "1e", "1e+", "0x1p-2", "0x1", "1_000", "+NaN", "-nan",
            "1e999", "--1", "1.2.3", "in", "infi", "1 ", "é",
        ] {
            assert_eq!(parse_value(text.as_bytes()).map(f64::to_bits), None, "{text}");
        }
        assert_eq!(parse_millis(b"-5"), Some(-5));
        for text in ["", "+5", "5.0", "99999999999999999999", "x"] {
            assert_eq!(parse_millis(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_exact_one(text in "-?[0-9]{0,16}[.]?[0-9]{0,8}([eE][+-]?[0-9]{1,3})?") {
            let exact: Option<f64> = text.parse().ok().filter(|value: &f64| value.is_finite());
            prop_assert_eq!(parse_value(text.as_bytes()).map(f64::to_bits), exact.map(f64::to_bits));
        }

        #[test]
        fn every_double_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = format!("{value:e}");
            prop_assert_eq!(parse_value(text.as_bytes()).map(f64::to_bits), Some(bits));
        }
    }
}
