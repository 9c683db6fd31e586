//! A sealed chunk's samples of whichever kind, as the value bytes of a page.
//!
//! ```text
//! samples := values                  kind 1, values.rs
//!          | histograms              kind 2, histogram_values.rs
//!          | starts values           kind 3
//!          | starts histograms       kind 4
//! starts  := steps varint { row varint, start zigzag varint }
//! ```
//!
//! A start timestamp holds from its row on, 0 for unknown: of a counter there is one step, or one
//! for each reset. Rows and starts are differences to the step before.

use std::{ops::Range, sync::Arc};

use narthex_model::{NativeHistogram, histogram::Histogram};

use crate::{
    bytes::{Cursor, Malformed, put_signed, put_varint},
    columns::Columns,
    histogram_values,
    values::{self, EncodedValues},
};

/// Floats without start timestamps.
pub(crate) const FLOATS: u8 = 1;
const HISTOGRAMS: u8 = 2;
const FLOATS_STARTED: u8 = 3;
const HISTOGRAMS_STARTED: u8 = 4;
/// The form of histograms; there is one.
const HISTOGRAM_FORM: u8 = 1;

/// Encoded samples.
#[derive(Debug)]
pub(crate) struct EncodedSamples {
    pub(crate) kind: u8,
    /// 1 to 4.
    pub(crate) form: u8,
    /// Of floats: whether some are kept apart.
    pub(crate) has_exceptions: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The same, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded<'b> {
    pub(crate) kind: u8,
    pub(crate) form: u8,
    pub(crate) has_exceptions: bool,
    pub(crate) bytes: &'b [u8],
}

/// Cuts rows into the fewest ranges whose samples can be encoded together: all floats, or all
/// histograms of one shape.
pub(crate) fn cut(columns: &Columns) -> Vec<Range<usize>> {
    if columns.histograms.is_empty() {
        return std::iter::once(0..columns.len()).collect();
    }
    let mut cuts = vec![0];
    let mut histograms = columns.histograms.iter().peekable();
    let (mut before, mut shape): (Option<bool>, Option<&NativeHistogram>) = (None, None);
    for row in 0..columns.len() {
        let histogram = histograms.next_if(|histogram| histogram.0 == row).map(|found| &*found.1);
        let is_other_kind = before.is_some_and(|before| before != histogram.is_some());
        let is_other_shape = match (shape, histogram) {
            (Some(shape), Some(histogram)) => !are_of_one_shape(shape, histogram),
            _ => false,
        };
        if is_other_kind || is_other_shape {
            cuts.push(row);
            shape = None;
        }
        before = Some(histogram.is_some());
        // A marker has no shape but its kind of counts.
        if shape.is_none_or(NativeHistogram::is_stale) {
            shape = histogram.or(shape);
        }
    }
    let ends = cuts[1..].iter().copied().chain([columns.len()]);
    cuts.iter().copied().zip(ends).map(|(from, to)| from..to).collect()
}

fn are_of_one_shape(a: &NativeHistogram, b: &NativeHistogram) -> bool {
    fn same<C>(a: &Histogram<C>, b: &Histogram<C>) -> bool {
        let bits = |bound: &f64| bound.to_bits();
        a.schema == b.schema
            && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
            && a.custom_values.iter().map(bits).eq(b.custom_values.iter().map(bits))
    }
    match (a, b) {
        _ if a.is_float() != b.is_float() => false,
        _ if a.is_stale() || b.is_stale() => true,
        (NativeHistogram::Integer(a), NativeHistogram::Integer(b)) => same(a, b),
        (NativeHistogram::Float(a), NativeHistogram::Float(b)) => same(a, b),
        _ => false,
    }
}

/// Encodes rows that [`cut`] left together.
pub(crate) fn encode(columns: &Columns, rows: Range<usize>) -> EncodedSamples {
    let mut bytes = Vec::new();
    let has_starts = put_starts(&mut bytes, columns, rows.clone());
    let histograms = columns.histograms_of(rows.clone());
    if histograms.is_empty() {
        let EncodedValues { form, has_exceptions, bytes: values } =
            values::encode(&columns.values[rows]);
        bytes.extend_from_slice(&values);
        let kind = if has_starts { FLOATS_STARTED } else { FLOATS };
        return EncodedSamples { kind, form, has_exceptions, bytes };
    }
    let histograms: Vec<Arc<NativeHistogram>> =
        histograms.iter().map(|histogram| Arc::clone(&histogram.1)).collect();
    bytes.extend_from_slice(&histogram_values::encode(&histograms));
    let kind = if has_starts { HISTOGRAMS_STARTED } else { HISTOGRAMS };
    EncodedSamples { kind, form: HISTOGRAM_FORM, has_exceptions: false, bytes }
}

/// Whether this program knows a kind of samples.
pub(crate) fn is_known(kind: u8) -> bool {
    (FLOATS..=HISTOGRAMS_STARTED).contains(&kind)
}

/// Adds the values of samples whose times are the last `count` of `into`.
pub(crate) fn decode(
    Encoded { kind, form, has_exceptions, bytes }: Encoded<'_>,
    count: usize,
    into: &mut Columns,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let first = into.len() - count;
    if matches!(kind, FLOATS_STARTED | HISTOGRAMS_STARTED) {
        let steps = take_starts(&mut cursor, &into.timestamps[first..])?;
        into.set_starts(first, &steps);
    }
    if matches!(kind, FLOATS | FLOATS_STARTED) {
        let encoded = values::Encoded { form, has_exceptions, bytes: cursor.rest() };
        return values::decode(encoded, count, &mut into.values);
    }
    if form != HISTOGRAM_FORM || has_exceptions {
        return Err(Malformed("form of histograms unknown to this program"));
    }
    for histogram in histogram_values::decode(cursor.rest(), count)? {
        into.histograms.push((into.values.len(), Arc::clone(&histogram)));
        into.values.push(histogram.sum());
    }
    Ok(())
}

/// Writes start timestamps, if there are any.
fn put_starts(out: &mut Vec<u8>, columns: &Columns, rows: Range<usize>) -> bool {
    let steps = columns.start_steps(rows.clone());
    if steps.is_empty() {
        return false;
    }
    put_varint(out, steps.len() as u64);
    let (mut row_before, mut start_before) = (0, 0i64);
    for (time, start) in steps {
        let times = &columns.timestamps[rows.clone()];
        let row = times.partition_point(|found| *found < time);
        put_varint(out, (row - row_before) as u64);
        put_signed(out, start.wrapping_sub(start_before));
        (row_before, start_before) = (row, start);
    }
    true
}

fn take_starts(cursor: &mut Cursor<'_>, times: &[i64]) -> Result<Vec<(i64, i64)>, Malformed> {
    let mut steps = Vec::new();
    let (mut row, mut start) = (0u64, 0i64);
    for _ in 0..cursor.count(2, "start timestamps")? {
        row = row.saturating_add(cursor.varint("start row")?);
        start = start.wrapping_add(cursor.signed("start timestamp")?);
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        steps.push((*times.get(row).ok_or(Malformed("start row"))?, start));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(schema: i32) -> Arc<NativeHistogram> {
        Arc::new(NativeHistogram::Integer(Histogram { schema, count: 1, ..Histogram::default() }))
    }

    #[test]
    fn rows_of_a_kind_and_shape_stay_together() {
        let stale = |is_float| Arc::new(NativeHistogram::stale_marker(is_float));
        let mut columns = Columns::new();
        columns.push(0, 1.0);
        columns.push(1, 2.0);
        columns.push_histogram(2, stale(false));
        columns.push_histogram(3, integer(3));
        columns.push_histogram(4, stale(false));
        columns.push_histogram(5, integer(3));
        columns.push_histogram(6, integer(4));
        columns.push_histogram(7, stale(true));
        columns.push(8, 3.0);
        columns.set_starts(0, &[(1, -5), (4, 0), (6, 7)]);
        let cuts = cut(&columns);
        assert_eq!(cuts, [0..2, 2..6, 6..7, 7..8, 8..9]);
        let mut back = Columns::new();
        for rows in cuts {
            let encoded = encode(&columns, rows.clone());
            back.timestamps.extend_from_slice(&columns.timestamps[rows.clone()]);
            let EncodedSamples { kind, form, has_exceptions, bytes } = encoded;
            let encoded = Encoded { kind, form, has_exceptions, bytes: &bytes };
            decode(encoded, rows.len(), &mut back).expect("valid");
        }
        assert_eq!(back.starts, columns.starts);
        assert_eq!(format!("{:?}", back.histograms), format!("{:?}", columns.histograms));
    }
}
