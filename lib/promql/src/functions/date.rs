//! The UTC calendar.

/// A time taken apart, proleptic Gregorian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// Days since the epoch.
    days: i64,
}

impl Civil {
    /// From milliseconds since the epoch.
    pub fn from_millis(millis: i64) -> Self {
        Self::from_seconds(millis.div_euclid(1000))
    }

    /// From seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let in_day = seconds.rem_euclid(86_400);
        // Count years from March, so that the leap day is the last of its year, in eras of 400
        // years from 0000-03-01, which is 719 468 days before the epoch.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: day as u8,
            hour: (in_day / 3600) as u8,
            minute: (in_day / 60 % 60) as u8,
            second: (in_day % 60) as u8,
            days,
        }
    }

    fn is_leap(self) -> bool {
        (self.year % 4 == 0 && self.year % 100 != 0) || self.year % 400 == 0
    }

    fn days_in_month(self) -> u8 {
        match self.month {
            2 => 28 + u8::from(self.is_leap()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> i64 {
        const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap_day = i64::from(self.is_leap() && self.month > 2);
        BEFORE[usize::from(self.month) - 1] + leap_day + i64::from(self.day)
    }

    /// Sunday is 0; the epoch was a Thursday.
    fn day_of_week(self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }
}

/// A date function.
pub(crate) type DateFunction = fn(Civil) -> f64;

/// Finds a date function.
pub(crate) fn date_function(name: &str) -> Option<DateFunction> {
    Some(match name {
        "minute" => |date| f64::from(date.minute),
        "hour" => |date| f64::from(date.hour),
        "day_of_week" => |date| date.day_of_week() as f64,
        "day_of_month" => |date| f64::from(date.day),
        "day_of_year" => |date| date.day_of_year() as f64,
        "days_in_month" => |date| f64::from(date.days_in_month()),
        "month" => |date| f64::from(date.month),
        "year" => |date| date.year as f64,
        _ => return None,
    })
}

/// Applies a date function to a time in seconds.
pub(crate) fn apply(function: DateFunction, seconds: f64) -> f64 {
    // Beyond some hundred million years the calendar says nothing, but must not overflow.
    let bounded = seconds.clamp(-1e16, 1e16) as i64;
    if seconds.is_nan() { f64::NAN } else { function(Civil::from_seconds(bounded)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(seconds: i64) -> (i64, u8, u8) {
        let civil = Civil::from_seconds(seconds);
        (civil.year, civil.month, civil.day)
    }

    #[test]
    fn days_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(951_782_400), (2000, 2, 29));
        assert_eq!(date(-1), (1969, 12, 31));
        assert_eq!(date(-62_167_219_200), (0, 1, 1));
        let leap = Civil::from_seconds(1_709_164_800);
        assert_eq!((leap.day_of_year(), leap.days_in_month(), leap.day_of_week()), (60, 29, 4));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut previous = Civil::from_seconds(-86_400 * 200_000);
        for day in -199_999..200_000 {
            let next = Civil::from_seconds(86_400 * day);
            let is_next_day = next.day == previous.day + 1 && next.month == previous.month;
            let is_next_month = next.day == 1 && previous.day == previous.days_in_month();
            assert!(is_next_day || is_next_month, "{next:?}");
            previous = next;
        }
    }
}
