//! Histograms as text: the short form that Prometheus prints, and the literal of test scripts.
//!
//! ```text
//! {count:4, sum:5, (0.5,1]:1, (1,2]:2, (2,4]:1}
//! {{schema:0 count:4 sum:5 z_bucket:1 z_bucket_w:0.001 buckets:[1 2 1] offset:0
//!   n_buckets:[1] n_offset:0 custom_values:[5 10] counter_reset_hint:gauge}}
//! ```

use std::fmt::{self, Write};

use super::{Bucket, BucketRange, CounterResetHint, FloatHistogram};
use crate::number::format_exposition;

/// Why a text is no histogram literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHistogramText {
    /// Not between `{{` and `}}`.
    #[error("histogram must stand between {{{{ and }}}}")]
    NoBraces,
    /// A name that means nothing.
    #[error("unknown histogram key {0:?}")]
    UnknownKey(String),
    /// The same key twice.
    #[error("histogram key {0:?} is repeated")]
    RepeatedKey(String),
    /// A value that does not fit its key.
    #[error("bad value for histogram key {0:?}")]
    BadValue(String),
}

/// The short form.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{count:{}, sum:{}",
            format_exposition(self.count),
            format_exposition(self.sum)
        )?;
        for bucket in self.plain_buckets() {
            let BucketRange { lower, upper, count, .. } = bucket;
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let [lower, upper, count] = [lower, upper, count].map(format_exposition);
            write!(f, ", {open}{lower},{upper}{close}:{count}")?;
        }
        f.write_char('}')
    }
}

impl FloatHistogram {
    /// As [`FloatHistogram::buckets`], with the schema's bounds also next to the zero bucket.
    fn plain_buckets(&self) -> impl Iterator<Item = BucketRange> + '_ {
        let populated = |bucket: &&Bucket| bucket.count != 0.0;
        let negative = self.negative.iter().rev().filter(populated);
        let positive = self.positive.iter().filter(populated);
        negative
            .map(|bucket| self.negative_range(bucket))
            .chain((self.zero_count != 0.0).then(|| self.zero_range()))
            .chain(positive.map(|bucket| self.positive_range(bucket)))
    }

    /// The literal of test scripts. Keys at their defaults are left out.
    pub fn to_test_expression(&self) -> String {
        let mut fields = Vec::new();
        let mut field = |key: &str, value: f64| {
            if value != 0.0 {
                fields.push(format!("{key}:{}", format_exposition(value)));
            }
        };
        field("schema", f64::from(self.schema));
        field("count", self.count);
        field("sum", self.sum);
        field("z_bucket", self.zero_count);
        field("z_bucket_w", self.zero_threshold);
        if !self.custom_values.is_empty() {
            fields.push(format!("custom_values:{}", list(&self.custom_values)));
        }
        push_buckets(&mut fields, ["buckets", "offset"], &self.positive);
        push_buckets(&mut fields, ["n_buckets", "n_offset"], &self.negative);
        match self.counter_reset_hint {
            CounterResetHint::Unknown => {}
            CounterResetHint::Reset => fields.push("counter_reset_hint:reset".to_owned()),
            CounterResetHint::NotReset => fields.push("counter_reset_hint:not_reset".to_owned()),
            CounterResetHint::Gauge => fields.push("counter_reset_hint:gauge".to_owned()),
        }
        format!("{{{{{}}}}}", fields.join(" "))
    }

    /// Reads the literal of test scripts. Numbers are trusted: counts need not add up.
    pub fn parse_test_expression(text: &str) -> Result<Self, InvalidHistogramText> {
        let inner = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
        let mut rest = inner.ok_or(InvalidHistogramText::NoBraces)?.trim_start();
        let mut read = Literal::default();
        let mut seen: Vec<&str> = Vec::new();
        while !rest.is_empty() {
            let bad = || InvalidHistogramText::BadValue(rest.to_owned());
            let (key, behind) = rest.split_once(':').ok_or_else(bad)?;
            if seen.contains(&key) {
                return Err(InvalidHistogramText::RepeatedKey(key.to_owned()));
            }
            seen.push(key);
            let behind = behind.trim_start();
            let end = match behind.strip_prefix('[') {
                Some(list) => list.find(']').map(|end| end + 2).ok_or_else(bad)?,
                None => behind.find(char::is_whitespace).unwrap_or(behind.len()),
            };
            let (value, behind) = behind.split_at(end);
            read.set(key, value)?;
            rest = behind.trim_start();
        }
        Ok(read.finish())
    }
}

/// A literal while it is read: bucket lists wait for their offsets.
#[derive(Default)]
struct Literal {
    histogram: FloatHistogram,
    positive: (i32, Vec<f64>),
    negative: (i32, Vec<f64>),
}

impl Literal {
    fn set(&mut self, key: &str, value: &str) -> Result<(), InvalidHistogramText> {
        let bad = || InvalidHistogramText::BadValue(key.to_owned());
        let float = || parse_float(value).ok_or_else(bad);
        let integer = || value.parse::<i32>().map_err(|_| bad());
        let floats = || parse_list(value).ok_or_else(bad);
        match key {
            "schema" => self.histogram.schema = integer()?,
            "count" => self.histogram.count = float()?,
            "sum" => self.histogram.sum = float()?,
            "z_bucket" => self.histogram.zero_count = float()?,
            "z_bucket_w" => self.histogram.zero_threshold = float()?,
            "custom_values" => self.histogram.custom_values = floats()?.into(),
            "buckets" => self.positive.1 = floats()?,
            "offset" => self.positive.0 = integer()?,
            "n_buckets" => self.negative.1 = floats()?,
            "n_offset" => self.negative.0 = integer()?,
            "counter_reset_hint" => {
                self.histogram.counter_reset_hint = parse_hint(value).ok_or_else(bad)?;
            }
            _ => return Err(InvalidHistogramText::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    fn finish(self) -> FloatHistogram {
        let buckets = |(offset, counts): (i32, Vec<f64>)| {
            let bucket = |(at, count)| Bucket { index: offset + at as i32, count };
            counts.into_iter().enumerate().map(bucket).filter(|b| b.count != 0.0).collect()
        };
        FloatHistogram {
            positive: buckets(self.positive),
            negative: buckets(self.negative),
            ..self.histogram
        }
    }
}

fn parse_hint(text: &str) -> Option<CounterResetHint> {
    Some(match text {
        "unknown" => CounterResetHint::Unknown,
        "reset" => CounterResetHint::Reset,
        "not_reset" => CounterResetHint::NotReset,
        "gauge" => CounterResetHint::Gauge,
        _ => return None,
    })
}

/// Rust reads every float that scripts write, `Inf` and `NaN` in any case included.
fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn parse_list(text: &str) -> Option<Vec<f64>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.split_whitespace().map(parse_float).collect()
}

fn list(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format_exposition(*value)).collect();
    format!("[{}]", values.join(" "))
}

/// Buckets from the first to the last, gaps as zeros, and where they begin.
fn push_buckets(fields: &mut Vec<String>, [key, offset_key]: [&str; 2], buckets: &[Bucket]) {
    let (Some(first), Some(last)) = (buckets.first(), buckets.last()) else { return };
    let mut counts = vec![0.0; (last.index - first.index) as usize + 1];
    for bucket in buckets {
        counts[(bucket.index - first.index) as usize] = bucket.count;
    }
    fields.push(format!("{key}:{}", list(&counts)));
    if first.index != 0 {
        fields.push(format!("{offset_key}:{}", first.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FloatHistogram {
        FloatHistogram::parse_test_expression(text).expect("valid")
    }

    #[test]
    fn literals_read_back() {
        for text in [
            "{{}}",
            "{{schema:-53 count:4 sum:5 custom_values:[5 10] buckets:[1 2 1]}}",
            "{{schema:1 count:4 sum:NaN z_bucket:1 z_bucket_w:0.001 buckets:[1 0 1] offset:-3 n_buckets:[2] n_offset:2 counter_reset_hint:gauge}}",
        ] {
            assert_eq!(parse(text).to_test_expression(), text);
        }
        assert_eq!(parse("{{ offset:1 buckets:[ 1 2 ] }}").positive[0].index, 1);
    }

    #[test]
    fn bad_literals_are_refused() {
        let error = |text| FloatHistogram::parse_test_expression(text).expect_err("refused");
        assert_eq!(error("{}"), InvalidHistogramText::NoBraces);
        assert_eq!(error("{{width:1}}"), InvalidHistogramText::UnknownKey("width".to_owned()));
        assert_eq!(error("{{sum:x}}"), InvalidHistogramText::BadValue("sum".to_owned()));
        assert_eq!(error("{{sum:1 sum:2}}"), InvalidHistogramText::RepeatedKey("sum".to_owned()));
    }

    #[test]
    fn the_short_form_names_every_populated_bucket() {
        let histogram = parse(
            "{{schema:0 count:7 sum:5.5 z_bucket:1 z_bucket_w:0.001 buckets:[1 0 1] n_buckets:[4]}}",
        );
        assert_eq!(
            histogram.to_string(),
            "{count:7, sum:5.5, [-1,-0.5):4, [-0.001,0.001]:1, (0.5,1]:1, (2,4]:1}"
        );
        let custom = parse("{{schema:-53 count:2 sum:5 custom_values:[5] buckets:[1 1]}}");
        assert_eq!(custom.to_string(), "{count:2, sum:5, [-Inf,5]:1, (5,+Inf]:1}");
    }
}
