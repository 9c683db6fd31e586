//! Durations as Prometheus writes them: `1h30m`.

use std::{fmt::Write, time::Duration};

use crate::quote;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Nothing at all.
    #[error("empty duration string")]
    Empty,
    /// Not of the form.
    #[error("not a valid duration string: {}", quote(.0))]
    Malformed(String),
    /// A unit that does not exist.
    #[error("unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// What stands in the unit's place.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 2^63 nanoseconds, about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Units from the longest to the shortest, with their milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads `1h30m`: whole numbers with units from the longest to the shortest, each at most once;
/// `0` needs no unit.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    match text {
        "" => return Err(InvalidDuration::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let malformed = || InvalidDuration::Malformed(text.to_owned());
    let mut rest = text;
    let mut units_left = UNITS.as_slice();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, behind) = split_where(rest, |byte| !byte.is_ascii_digit());
        let (unit, behind) = split_where(behind, |byte| byte.is_ascii_digit());
        let number: u64 = number.parse().map_err(|_| malformed())?;
        if unit.is_empty() {
            return Err(malformed());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            let (unit, text) = (unit.to_owned(), text.to_owned());
            return Err(InvalidDuration::UnknownUnit { unit, text });
        }
        let at = units_left.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        let part = number.checked_mul(units_left[at].1).ok_or(InvalidDuration::OutOfRange)?;
        millis = millis.checked_add(part).ok_or(InvalidDuration::OutOfRange)?;
        units_left = &units_left[at + 1..];
        rest = behind;
    }
    if millis > i64::MAX as u64 / 1_000_000 {
        return Err(InvalidDuration::OutOfRange);
    }
    Ok(Duration::from_millis(millis))
}

/// Splits before the first byte for which `ends` holds. Only ASCII digits are told from the rest,
/// so that the cut never falls inside a character.
fn split_where(text: &str, ends: impl Fn(u8) -> bool) -> (&str, &str) {
    text.split_at(text.bytes().position(ends).unwrap_or(text.len()))
}

/// Writes a duration so that [`parse`] reads it back, down to the millisecond. Years and weeks
/// appear only where nothing remains: `90d`, not `12w6d`.
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in UNITS {
        let must_divide = matches!(unit, "y" | "w");
        if millis < length || (must_divide && millis % length != 0) {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{unit}", millis / length);
        millis %= length;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_of_prometheus() {
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("1y2w3d4h5m6s7ms").map(|d| d.as_millis()), Ok(33_019_506_007));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse(""), Err(InvalidDuration::Empty));
        for wrong in ["1", "m", "1m1h", "1s1s", "-1s", "99999999999999999999s"] {
            assert_eq!(parse(wrong), Err(InvalidDuration::Malformed(wrong.into())), "{wrong}");
        }
        for unknown in ["1.5h", "1 s", "5x", "1h 30m", "1hs"] {
            let refused = parse(unknown).expect_err("no such unit").to_string();
            assert!(refused.starts_with("unknown unit"), "{refused}");
        }
        for long in ["293y", "18446744073709551615y"] {
            assert_eq!(parse(long), Err(InvalidDuration::OutOfRange));
        }
    }

    #[test]
    fn years_and_weeks_only_when_exact() {
        let texts = [("90d", "90d"), ("14d", "2w"), ("365d", "1y"), ("61s", "1m1s"), ("0s", "0s")];
        for (text, printed) in texts {
            assert_eq!(format(parse(text).expect("valid")), printed);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0u64..400_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9ywdhmsx]{0,12}") {
            if let Ok(duration) = parse(&text) {
                prop_assert_eq!(parse(&format(duration)), Ok(duration));
            }
        }
    }
}
