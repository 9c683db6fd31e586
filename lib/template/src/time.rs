//! Times as Go writes them: by a layout that shows how a certain moment would look.

use std::fmt::Write as _;

use jiff::{civil::DateTime, tz::Offset};
use narthex_model::Timestamp;

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// What a layout can ask for; where one begins like another, the longer stands first.
const ELEMENTS: [&str; 28] = [
    "January", "Jan", "Monday", "Mon", "MST", "2006", "-07:00", "-0700", "-07", "Z07:00", "Z0700",
    "002", "01", "02", "03", "04", "05", "06", "15", "_2", "PM", "pm", "1", "2", "3", "4", "5",
    ".000",
];

/// As `fmt` prints a time.
pub(crate) fn standard(time: Timestamp) -> String {
    let Some(civil) = civil(time) else { return time.to_string() };
    let mut text = formatted(time, "2006-01-02 15:04:05");
    let millis = civil.subsec_nanosecond() / 1_000_000;
    if millis != 0 {
        let fraction = format!(".{millis:03}");
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push_str(" +0000 UTC");
    text
}

/// The date and time of day, for years of four digits.
pub(crate) fn civil(time: Timestamp) -> Option<DateTime> {
    let time = jiff::Timestamp::from_millisecond(time.millis()).ok()?;
    Some(Offset::UTC.to_datetime(time))
}

/// `time` as `layout` shows it.
pub(crate) fn formatted(time: Timestamp, layout: &str) -> String {
    let Some(civil) = civil(time) else { return time.to_string() };
    let mut text = String::new();
    let mut rest = layout;
    'layout: while let Some(char) = rest.chars().next() {
        for element in ELEMENTS {
            if let Some(behind) = rest.strip_prefix(element) {
                push(&mut text, civil, element);
                rest = behind;
                continue 'layout;
            }
        }
        text.push(char);
        rest = &rest[char.len_utf8()..];
    }
    text
}

fn push(text: &mut String, civil: DateTime, element: &str) {
    let hour12 = match civil.hour() % 12 {
        0 => 12,
        hour => hour,
    };
    let month = MONTHS[usize::from(civil.month().unsigned_abs()) - 1];
    let day = DAYS[usize::from(civil.weekday().to_monday_zero_offset().unsigned_abs())];
    let half = if civil.hour() < 12 { "AM" } else { "PM" };
    // Writing to a string cannot fail.
    let _ = match element {
        "2006" => write!(text, "{:04}", civil.year()),
        "06" => write!(text, "{:02}", civil.year().rem_euclid(100)),
        "January" => write!(text, "{month}"),
        "Jan" => write!(text, "{}", &month[..3]),
        "01" => write!(text, "{:02}", civil.month()),
        "1" => write!(text, "{}", civil.month()),
        "Monday" => write!(text, "{day}"),
        "Mon" => write!(text, "{}", &day[..3]),
        "02" => write!(text, "{:02}", civil.day()),
        "_2" => write!(text, "{:2}", civil.day()),
        "2" => write!(text, "{}", civil.day()),
        "002" => write!(text, "{:03}", civil.day_of_year()),
        "15" => write!(text, "{:02}", civil.hour()),
        "03" => write!(text, "{hour12:02}"),
        "3" => write!(text, "{hour12}"),
        "04" => write!(text, "{:02}", civil.minute()),
        "4" => write!(text, "{}", civil.minute()),
        "05" => write!(text, "{:02}", civil.second()),
        "5" => write!(text, "{}", civil.second()),
        "PM" => write!(text, "{half}"),
        "pm" => write!(text, "{}", half.to_lowercase()),
        ".000" => write!(text, ".{:03}", civil.subsec_nanosecond() / 1_000_000),
        "MST" => write!(text, "UTC"),
        "-07:00" => write!(text, "+00:00"),
        "-0700" => write!(text, "+0000"),
        "-07" => write!(text, "+00"),
        // `Z07:00` and `Z0700`: UTC has no offset.
        _ => write!(text, "Z"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_show_the_reference_time() {
        // 2026-11-08T04:05:06.070Z, a Sunday.
        let time = Timestamp::from_millis(1_794_110_706_070);
        let texts = [
            ("2006-01-02T15:04:05Z07:00", "2026-11-08T04:05:06Z"),
            ("Mon Jan _2 15:04:05.000 2006", "Sun Nov  8 04:05:06.070 2026"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Sunday, 08-Nov-26 04:05:06 UTC"),
            ("3:04PM -0700", "4:05AM +0000"),
            ("1/2 002", "11/8 312"),
            ("at 15h", "at 04h"),
        ];
        for (layout, text) in texts {
            assert_eq!(formatted(time, layout), text, "{layout}");
        }
        assert_eq!(standard(time), "2026-11-08 04:05:06.07 +0000 UTC");
        assert_eq!(standard(Timestamp::from_millis(0)), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(standard(Timestamp::MAX), i64::MAX.to_string());
    }
}
