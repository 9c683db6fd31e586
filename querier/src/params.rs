//! Parameters of the HTTP API: where they stand, and what their texts mean.

use std::sync::Arc;

use narthex_model::Timestamp;

use crate::error::ApiError;

/// The start of time in Go's `time.Time`, as Prometheus counts it.
pub const MIN_TIME: Timestamp = Timestamp::from_millis((i64::MIN / 1000 + 62_135_596_801) * 1000);
/// The end of time.
pub const MAX_TIME: Timestamp =
    Timestamp::from_millis((i64::MAX / 1000 - 62_135_596_801) * 1000 + 999);
/// How Go prints them, which clients send back.
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Names and values of a query string and a form, in order: the form first, as Go has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Params {
    pairs: Vec<(String, String)>,
    sender: Arc<str>,
}

impl Params {
    /// Reads a form body and a query string.
    pub fn parse(form: &str, query: &str) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        for text in [form, query] {
            for pair in text.split('&').filter(|pair| !pair.is_empty()) {
                if pair.contains(';') {
                    return Err(form_error("invalid semicolon separator in query"));
                }
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                pairs.push((unescape(name)?, unescape(value)?));
            }
        }
        Ok(Self { pairs, sender: Arc::default() })
    }

    /// The same, of a request of `sender`.
    #[must_use]
    pub fn sent_by(self, sender: Arc<str>) -> Self {
        Self { sender, ..self }
    }

    /// Who sent the request.
    pub fn sender(&self) -> &Arc<str> {
        &self.sender
    }

    /// The first value of `name`; empty where there is none.
    pub fn value<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or("")
    }

    /// Every value of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A time that must be given.
    pub fn time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.value(name)).map_err(|why| ApiError::invalid_parameter(name, &why))
    }

    /// A time, or `default` where it is not given.
    pub fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, ApiError> {
        match self.value(name) {
            "" => Ok(default),
            text => parse_time(text).map_err(|why| {
                ApiError::invalid_parameter(
                    name,
                    &format!("invalid time value for '{name}': {why}"),
                )
            }),
        }
    }

    /// A duration in nanoseconds that must be given.
    pub fn duration(&self, name: &str) -> Result<i64, ApiError> {
        parse_duration(self.value(name)).map_err(|why| ApiError::invalid_parameter(name, &why))
    }

    /// A duration in nanoseconds, if given.
    pub fn duration_if_given(&self, name: &str) -> Result<Option<i64>, ApiError> {
        if self.value(name).is_empty() { Ok(None) } else { self.duration(name).map(Some) }
    }

    /// `limit`: the most results wanted; 0, also where it is not given, is no limit.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let text = self.value("limit");
        if text.is_empty() {
            return Ok(0);
        }
        match text.parse::<i64>() {
            Ok(limit) if limit < 0 => {
                Err(ApiError::invalid_parameter("limit", "limit must be non-negative"))
            }
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => {
                let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
                Err(ApiError::invalid_parameter("limit", &why))
            }
        }
    }

    /// A switch such as `partial_response`.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.value(name), "true" | "1")
    }
}

fn form_error(why: &str) -> ApiError {
    ApiError::bad_data(format!("error parsing form values: {why}"))
}

/// Undoes percent encoding; `+` is a space. What is not UTF-8 then is kept as replacement
/// characters, to be refused where it is used.
fn unescape(text: &str) -> Result<String, ApiError> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' => plain.push(b' '),
            b'%' => {
                let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
                let (Some(high), Some(low)) = (digit(at), digit(at + 1)) else {
                    let shown: String = text[at - 1..].chars().take(3).collect();
                    return Err(form_error(&format!("invalid URL escape {shown:?}")));
                };
                plain.push((high * 16 + low) as u8);
                at += 2;
            }
            byte => plain.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&plain).into_owned())
}

/// Seconds since the epoch, perhaps with a fraction, or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let wrong = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.is_nan() {
            return Err(wrong());
        }
        // By parts, so that the milliseconds of a large number of seconds survive.
        let whole = (seconds.trunc() as i64).saturating_mul(1000);
        let millis = whole.saturating_add((seconds.fract() * 1000.0).round() as i64);
        return Ok(Timestamp::from_millis(millis).clamp(MIN_TIME, MAX_TIME));
    }
    match text {
        MIN_TIME_TEXT => return Ok(MIN_TIME),
        MAX_TIME_TEXT => return Ok(MAX_TIME),
        _ => {}
    }
    let shape = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let is_rfc3339 = separators.iter().all(|&(at, byte)| shape.get(at) == Some(&byte))
        && !text.contains('[')
        && !text.ends_with('z');
    let parsed = if is_rfc3339 { text.parse::<jiff::Timestamp>().ok() } else { None };
    let nanos = parsed.ok_or_else(wrong)?.as_nanosecond();
    i64::try_from(nanos.div_euclid(1_000_000)).map(Timestamp::from_millis).map_err(|_| wrong())
}

/// Seconds, perhaps with a fraction, or a duration such as `1h30m`; in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if nanos.is_nan() || nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(nanos as i64);
    }
    let duration = narthex_model::duration::parse(text).ok();
    duration
        .and_then(|duration| i64::try_from(duration.as_nanos()).ok())
        .ok_or_else(|| format!("cannot parse {text:?} to a valid duration"))
}

/// The label name behind its `U__` form, in which characters outside the classic set are written
/// as `_HEX_` and `_` as `__`. Any other text is the name itself.
pub fn unescape_label_name(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else {
        return name.to_owned();
    };
    let mut plain = String::new();
    let mut rest = escaped;
    while let Some(character) = rest.chars().next() {
        if character != '_' {
            plain.push(character);
            rest = &rest[character.len_utf8()..];
        } else if let Some(behind) = rest.strip_prefix("__") {
            plain.push('_');
            rest = behind;
        } else {
            let code = rest[1..].split_once('_').and_then(|(hex, behind)| {
                let code = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() <= 6)?;
                Some((char::from_u32(code)?, behind))
            });
            let Some((decoded, behind)) = code else {
                return name.to_owned();
            };
            plain.push(decoded);
            rest = behind;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Result<i64, String> {
        parse_time(text).map(Timestamp::millis)
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(millis("1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(millis("-1.5"), Ok(-1500));
        assert_eq!(millis("1e3"), Ok(1_000_000));
        assert_eq!(millis("2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(millis("2015-07-01T22:10:51.7819+02:00"), Ok(1_435_781_451_781));
        assert_eq!(parse_time(MIN_TIME_TEXT), Ok(MIN_TIME));
        assert_eq!(parse_time("-9223309901257974"), Ok(MIN_TIME));
        assert_eq!(parse_time("9e99"), Ok(MAX_TIME));
        for text in ["", "now", "NaN", "2015-07-01", "2015-07-01 20:10:51Z", "2015-07-01T20:10:51"]
        {
            let why = millis(text).expect_err(text);
            assert_eq!(why, format!("cannot parse {text:?} to a valid timestamp"));
        }
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        assert_eq!(parse_duration("15"), Ok(15_000_000_000));
        assert_eq!(parse_duration("0.5"), Ok(500_000_000));
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000_000_000));
        assert_eq!(parse_duration("-1"), Ok(-1_000_000_000));
        let overflow = parse_duration("1e30").expect_err("overflow");
        assert_eq!(overflow, "cannot parse \"1e30\" to a valid duration. It overflows int64");
        assert_eq!(parse_duration("x").expect_err("x"), "cannot parse \"x\" to a valid duration");
    }

    #[test]
    fn forms_come_before_query_strings_and_names_repeat() {
        let params =
            Params::parse("a=1&match[]=%7Bx%3D%22y%22%7D", "a=2&match%5B%5D=b+c").expect("valid");
        assert_eq!(params.value("a"), "1");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["{x=\"y\"}", "b c"]);
        assert_eq!(params.value("none"), "");
        let error = Params::parse("", "a=%zz").expect_err("escape");
        assert_eq!(error.message, "error parsing form values: invalid URL escape \"%zz\"");
    }

    #[test]
    fn limits_are_whole_numbers() {
        let limit = |text: &str| Params::parse("", text).expect("valid").limit();
        assert_eq!(limit("").expect("none"), 0);
        assert_eq!(limit("limit=7").expect("seven"), 7);
        let error = limit("limit=-1").expect_err("negative").message;
        assert_eq!(error, "invalid parameter \"limit\": limit must be non-negative");
    }

    #[test]
    fn escaped_label_names_are_read() {
        assert_eq!(unescape_label_name("U__http_2e_status"), "http.status");
        assert_eq!(unescape_label_name("U__a__b"), "a_b");
        assert_eq!(unescape_label_name("U__bad_zz_"), "U__bad_zz_");
        assert_eq!(unescape_label_name("job"), "job");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = (parse_time(&text), parse_duration(&text), Params::parse(&text, &text));
            let _ = unescape_label_name(&format!("U__{text}"));
        }
    }
}
