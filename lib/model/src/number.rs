//! Numbers as Go prints them. Three forms, one set of shortest digits:
//!
//! | form | used for | example |
//! |---|---|---|
//! | JSON | values in API answers | `100`, `1e+21`, `1e-07` |
//! | exposition | `/metrics`, bucket bounds (Go's `%v`, `'g'`) | `100`, `1e+06`, `1e-07`, `1e-05` |
//! | label | values that become labels (Go's `'f'`) | `100`, `1000000000000000000000` |

/// The JSON form: plain digits, with an exponent below 1e-6 and from 1e21 on.
pub fn format_json(value: f64) -> String {
    finish(|text| push_json(text, value))
}

/// The exposition form: plain digits, with an exponent below 1e-4 and from 1e6 on.
pub fn format_exposition(value: f64) -> String {
    finish(|text| push_exposition(text, value))
}

/// The label form: plain digits always.
pub fn format_label(value: f64) -> String {
    finish(|text| push_form(text, value, Bounds { low: i32::MIN, high: i32::MAX }))
}

/// Appends [`format_json`].
pub fn push_json(text: &mut Vec<u8>, value: f64) {
    // In Go the bounds are on the value: 1e-6 and 1e21 are the first of their decades.
    push_form(text, value, Bounds { low: -6, high: 21 });
}

/// Appends [`format_exposition`].
pub fn push_exposition(text: &mut Vec<u8>, value: f64) {
    push_form(text, value, Bounds { low: -4, high: 6 });
}

/// The decimal exponents, `low..high`, that are written as plain digits.
#[derive(Clone, Copy)]
struct Bounds {
    low: i32,
    high: i32,
}

fn finish(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut text = Vec::with_capacity(24);
    push(&mut text);
    String::from_utf8(text).expect("numbers are ASCII")
}

fn push_form(text: &mut Vec<u8>, value: f64, bounds: Bounds) {
    if value.is_nan() {
        return text.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return text.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value.is_sign_negative() {
        text.push(b'-');
    }
    let mut buffer = zmij::Buffer::new();
    let digits = Digits::read(buffer.format_finite(value.abs()));
    if digits.exponent < bounds.low || digits.exponent >= bounds.high {
        digits.push_scientific(text);
    } else {
        digits.push_plain(text);
    }
}

/// The shortest digits of a number that is not negative: `d.ddd × 10^exponent`.
struct Digits {
    digits: [u8; 20],
    len: usize,
    exponent: i32,
}

impl Digits {
    /// Takes apart what the number printer wrote: `100.0`, `0.001`, `1.5e-7`.
    fn read(printed: &str) -> Self {
        let (mantissa, exponent) = printed.split_once('e').unwrap_or((printed, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().expect("printed exponent is a number");
        let mut read = Self { digits: [0; 20], len: 0, exponent: 0 };
        let all = || whole.bytes().chain(fraction.bytes());
        let leading_zeros = all().take_while(|digit| *digit == b'0').count();
        let significant = all().skip(leading_zeros).collect::<smallvec::SmallVec<[u8; 32]>>();
        let trailing_zeros = significant.iter().rev().take_while(|digit| **digit == b'0').count();
        let significant = &significant[..significant.len() - trailing_zeros];
        if !significant.is_empty() {
            read.exponent = exponent + whole.len() as i32 - 1 - leading_zeros as i32;
            read.len = significant.len();
            read.digits[..significant.len()].copy_from_slice(significant);
        }
        read
    }

    fn push_plain(&self, text: &mut Vec<u8>) {
        let digits = &self.digits[..self.len];
        let whole_len = self.exponent + 1;
        if whole_len <= 0 || digits.is_empty() {
            text.push(b'0');
            if !digits.is_empty() {
                text.push(b'.');
                text.extend(std::iter::repeat_n(b'0', -whole_len as usize));
                text.extend_from_slice(digits);
            }
            return;
        }
        let whole_len = whole_len as usize;
        if whole_len >= digits.len() {
            text.extend_from_slice(digits);
            text.extend(std::iter::repeat_n(b'0', whole_len - digits.len()));
        } else {
            text.extend_from_slice(&digits[..whole_len]);
            text.push(b'.');
            text.extend_from_slice(&digits[whole_len..]);
        }
    }

    fn push_scientific(&self, text: &mut Vec<u8>) {
        text.push(self.digits[0]);
        if self.len > 1 {
            text.push(b'.');
            text.extend_from_slice(&self.digits[1..self.len]);
        }
        text.extend_from_slice(if self.exponent < 0 { b"e-" } else { b"e+" });
        let magnitude = self.exponent.unsigned_abs();
        if magnitude < 10 {
            text.push(b'0');
        }
        text.extend_from_slice(magnitude.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_form_of_go() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100.0, "100"),
            (-12.75, "-12.75"),
            (0.001, "0.001"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(format_json(value), text);
        }
    }

    #[test]
    fn the_forms_differ_in_where_exponents_begin() {
        assert_eq!(format_exposition(0.0001), "0.0001");
        assert_eq!(format_exposition(123_456.0), "123456");
        assert_eq!(format_exposition(4_194_304.0), "4.194304e+06");
        assert_eq!(format_exposition(0.00005), "5e-05");
        assert_eq!(format_json(0.00005), "0.00005");
        assert_eq!(format_label(1e21), "1000000000000000000000");
        assert_eq!(format_label(1e-7), "0.0000001");
    }

    proptest! {
        #[test]
        fn every_form_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            for text in [format_json(value), format_exposition(value), format_label(value)] {
                let read: f64 = text.parse().expect("a number");
                prop_assert!(read.to_bits() == value.to_bits() || value.is_nan());
            }
        }
    }
}
