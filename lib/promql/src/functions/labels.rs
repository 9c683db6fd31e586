//! Functions that change or compare labels.

use std::cmp::Ordering;

use narthex_model::{Labels, METRIC_NAME, Regex, quote};

use crate::{eval::EvalError, value::Series};

/// The arguments of `label_replace`.
pub(crate) struct LabelReplace<'a> {
    pub destination: &'a str,
    pub replacement: &'a str,
    pub source: &'a str,
    pub regex: &'a str,
}

impl LabelReplace<'_> {
    /// Sets the destination where the source matches. An empty value removes it.
    pub fn apply(&self, series: &mut [Series]) -> Result<(), EvalError> {
        let regex = Regex::new(self.regex).map_err(|_| {
            let regex = quote(self.regex);
            EvalError::Argument(format!("invalid regular expression in label_replace(): {regex}"))
        })?;
        check_name(self.destination, "label_replace()")?;
        for series in series {
            let source = series.labels.value(self.source);
            if let Some(value) = regex.expand(self.replacement, source) {
                set_label(series, self.destination, value);
            }
        }
        Ok(())
    }
}

/// `label_join`
pub(crate) fn join(
    series: &mut [Series],
    destination: &str,
    separator: &str,
    sources: &[&str],
) -> Result<(), EvalError> {
    if sources.contains(&"") {
        let message = "invalid source label name in label_join(): ";
        return Err(EvalError::Argument(message.to_owned()));
    }
    check_name(destination, "label_join()")?;
    for series in series {
        let values: Vec<&str> = sources.iter().map(|name| series.labels.value(name)).collect();
        let joined = values.join(separator);
        set_label(series, destination, joined);
    }
    Ok(())
}

fn check_name(name: &str, function: &str) -> Result<(), EvalError> {
    if name.is_empty() {
        return Err(EvalError::Argument(format!(
            "invalid destination label name in {function}: {name}"
        )));
    }
    Ok(())
}

fn set_label(series: &mut Series, name: &str, value: String) {
    let mut builder = series.labels.to_builder();
    builder.set(name, value);
    series.labels = builder.build();
    // A name that is set anew is not the one that was to be dropped.
    series.drop_name &= name != METRIC_NAME;
}

/// Whether a label may have this name.
pub(crate) fn is_valid_label_name(name: &str) -> bool {
    !name.is_empty()
}

/// The order of `sort_by_label`: by the given labels as a person would sort them, then by all.
pub(crate) fn compare_by(a: &Labels, b: &Labels, names: &[&str]) -> Ordering {
    let by_label = |name: &&str| natural_order(a.value(name), b.value(name));
    names.iter().map(by_label).find(|order| order.is_ne()).unwrap_or_else(|| a.cmp(b))
}

/// Runs of digits compare as numbers, what is between them by bytes.
fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    let mut is_amid_text = false;
    loop {
        let (Some(&first_a), Some(&first_b)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len());
        };
        if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            let (number_a, number_b) = (take_digits(&mut a), take_digits(&mut b));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            is_amid_text = false;
        } else if is_amid_text && first_a.is_ascii_digit() != first_b.is_ascii_digit() {
            // The text of one ends where that of the other goes on.
            return first_b.is_ascii_digit().cmp(&first_a.is_ascii_digit());
        } else if first_a != first_b {
            return first_a.cmp(&first_b);
        } else {
            (a, b) = (&a[1..], &b[1..]);
            is_amid_text = true;
        }
    }
}

/// Takes a run of digits off `text`; returns it without leading zeros.
fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    *text = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_sort_as_numbers() {
        let mut texts = ["cpu10", "cpu-1", "cpu9", "cpu", "cpu1a", "cpu01", "-", "1", ""];
        texts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(texts, ["", "-", "1", "cpu", "cpu01", "cpu1a", "cpu9", "cpu10", "cpu-1"]);
    }
}
