//! Encoding a sealed chunk's histograms, which have one shape.
//!
//! ```text
//! histograms := hints varint { samples varint, hint u8 }           each for so many samples
//!               markers varint { position varint }                 of staleness markers, each the
//!                                                                  difference to the one before
//!               first block                                        as lib/model encodes it
//!               if any is no marker:
//!               indexes of positive buckets, of negative ones, sums, counts
//! indexes    := count varint { zigzag varint, difference to the one before }
//! sums       := form u8 (+ 128: exceptions), block                 values.rs, of those behind first
//! counts     := integers: { column }, words varint { u64 }         of: all less those in buckets,
//!                                                                  zero bucket, positive buckets,
//!                                                                  negative buckets
//!             | floats: form u8, block (values.rs) of each of: all, zero bucket, buckets
//! column     := 0                                                  every difference is 0
//!             | k + 1 u8, base zigzag                              Rice code, below
//! ```
//!
//! A layout is shared: buckets that any histogram has, where absent means zero. Each bucket is a
//! column, since a bucket resembles itself over time more than its neighbours. Differences in time,
//! from the first histogram on, are written as zigzag of their distance to a base, the column's
//! median, in the Rice code (rice.rs). The words hold the bits of all columns in turn.

use std::{collections::BTreeSet, sync::Arc};

use narthex_model::{
    CounterResetHint, NativeHistogram,
    histogram::{Bucket, Histogram},
};

use crate::{
    bits::{BitReader, BitString},
    bytes::{Cursor, Malformed, put_block, put_signed, put_varint, unzigzag, zigzag},
    rice::{RICE_MAX, best_parameter, push_rice, read_rice},
    values::{self, Encoded, EncodedValues},
};

/// Buckets of all histograms of a chunk together.
const LAYOUT_MAX: usize = 1 << 20;

type Histograms = [Arc<NativeHistogram>];

/// Encodes histograms of one shape, of which there is at least one.
pub(crate) fn encode(histograms: &Histograms) -> Vec<u8> {
    let mut out = Vec::new();
    put_hints(&mut out, histograms);
    let is_marker = |at: &usize| histograms[*at].is_stale();
    let markers: Vec<usize> = (0..histograms.len()).filter(is_marker).collect();
    put_varint(&mut out, markers.len() as u64);
    let mut before = 0;
    for marker in markers {
        put_varint(&mut out, (marker - before) as u64);
        before = marker;
    }
    let first = histograms.iter().find(|histogram| !histogram.is_stale());
    let mut block = Vec::new();
    first.unwrap_or(&histograms[0]).encode(&mut block);
    put_block(&mut out, &block);
    let real = histograms.iter().filter(|histogram| !histogram.is_stale());
    match first.map(|first| &**first) {
        None => {}
        Some(NativeHistogram::Integer(_)) => {
            let of_kind = |histogram: &'_ Arc<NativeHistogram>| match &**histogram {
                NativeHistogram::Integer(histogram) => Some(histogram.clone()),
                NativeHistogram::Float(_) => None,
            };
            put_integers(&mut out, &real.filter_map(of_kind).collect::<Vec<_>>());
        }
        Some(NativeHistogram::Float(_)) => {
            let of_kind = |histogram: &'_ Arc<NativeHistogram>| match &**histogram {
                NativeHistogram::Float(histogram) => Some(histogram.clone()),
                NativeHistogram::Integer(_) => None,
            };
            put_floats(&mut out, &real.filter_map(of_kind).collect::<Vec<_>>());
        }
    }
    out
}

/// The `count` histograms that [`encode`] encoded.
pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<Vec<Arc<NativeHistogram>>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let hints = take_hints(&mut cursor, count)?;
    let markers = take_markers(&mut cursor, count)?;
    let first = NativeHistogram::decode(cursor.block("first histogram")?);
    let first = first.map_err(|_| Malformed("first histogram"))?;
    let mut real = Vec::new();
    let is_float = first.is_float();
    if markers.len() < count {
        real = match first {
            NativeHistogram::Integer(first) => {
                take_integers(&mut cursor, first, count - markers.len())?
            }
            NativeHistogram::Float(first) => {
                take_floats(&mut cursor, first, count - markers.len())?
            }
        };
    }
    cursor.end("histograms end")?;
    let marker = Arc::new(NativeHistogram::stale_marker(is_float));
    let mut real = real.into_iter();
    let mut all = Vec::with_capacity(count);
    for (at, hint) in hints.into_iter().enumerate() {
        if markers.contains(&at) {
            all.push(Arc::clone(&marker));
            continue;
        }
        let mut histogram = real.next().ok_or(Malformed("markers"))?;
        set_hint(&mut histogram, hint);
        all.push(Arc::new(histogram));
    }
    Ok(all)
}

fn hint_of(histogram: &NativeHistogram) -> CounterResetHint {
    match histogram {
        NativeHistogram::Integer(histogram) => histogram.counter_reset_hint,
        NativeHistogram::Float(histogram) => histogram.counter_reset_hint,
    }
}

fn set_hint(histogram: &mut NativeHistogram, hint: CounterResetHint) {
    match histogram {
        NativeHistogram::Integer(histogram) => histogram.counter_reset_hint = hint,
        NativeHistogram::Float(histogram) => histogram.counter_reset_hint = hint,
    }
}

fn put_hints(out: &mut Vec<u8>, histograms: &Histograms) {
    let runs = || histograms.chunk_by(|a, b| hint_of(a) == hint_of(b));
    put_varint(out, runs().count() as u64);
    for run in runs() {
        put_varint(out, run.len() as u64);
        out.push(hint_of(&run[0]) as u8);
    }
}

fn take_hints(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<CounterResetHint>, Malformed> {
    let mut hints = Vec::with_capacity(count);
    for _ in 0..cursor.count(2, "hints")? {
        let samples = cursor.varint("hint")?.min(count as u64 + 1) as usize;
        let hint = match cursor.u8("hint")? {
            0 => CounterResetHint::Unknown,
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            3 => CounterResetHint::Gauge,
            _ => return Err(Malformed("hint unknown to this program")),
        };
        hints.resize((hints.len() + samples).min(count + 1), hint);
    }
    if hints.len() == count { Ok(hints) } else { Err(Malformed("hints")) }
}

fn take_markers(cursor: &mut Cursor<'_>, count: usize) -> Result<BTreeSet<usize>, Malformed> {
    let mut markers = BTreeSet::new();
    let mut position = 0u64;
    for _ in 0..cursor.count(1, "markers")? {
        position = position.saturating_add(cursor.varint("marker")?);
        if position >= count as u64 || !markers.insert(position as usize) {
            return Err(Malformed("marker"));
        }
    }
    Ok(markers)
}

/// Every bucket index that a histogram has, on one side of zero.
fn layout<'h, C: Copy + 'h>(sides: impl Iterator<Item = &'h Vec<Bucket<C>>>) -> Vec<i32> {
    let indexes: BTreeSet<i32> = sides.flatten().map(|bucket| bucket.index).collect();
    indexes.into_iter().collect()
}

fn put_layout(out: &mut Vec<u8>, layout: &[i32]) {
    put_varint(out, layout.len() as u64);
    let mut before = 0;
    for &index in layout {
        put_signed(out, i64::from(index) - before);
        before = i64::from(index);
    }
}

fn take_layout(cursor: &mut Cursor<'_>) -> Result<Vec<i32>, Malformed> {
    let count = cursor.count(1, "bucket indexes")?;
    let (mut layout, mut index) = (Vec::with_capacity(count), 0i64);
    for _ in 0..count {
        index = index.saturating_add(cursor.signed("bucket index")?);
        let index = i32::try_from(index).map_err(|_| Malformed("bucket index"))?;
        if layout.last().is_some_and(|before| *before >= index) {
            return Err(Malformed("bucket index"));
        }
        layout.push(index);
    }
    if count > LAYOUT_MAX { Err(Malformed("bucket indexes")) } else { Ok(layout) }
}

/// A bucket's counts over time. Histograms are asked for rising indexes.
fn bucket<C: Copy + Default>(buckets: &[Bucket<C>], index: i32) -> C {
    let found = buckets.binary_search_by_key(&index, |bucket| bucket.index);
    found.map_or(C::default(), |at| buckets[at].count)
}

/// Stands beside a form whose values have exceptions.
const EXCEPTIONS: u8 = 1 << 7;

fn put_values(out: &mut Vec<u8>, values: &[f64]) {
    if values.is_empty() {
        return;
    }
    let EncodedValues { form, has_exceptions, bytes } = values::encode(values);
    out.push(form | if has_exceptions { EXCEPTIONS } else { 0 });
    put_block(out, &bytes);
}

fn take_values(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<f64>, Malformed> {
    let mut values = Vec::new();
    if count > 0 {
        let form = cursor.u8("form")?;
        let encoded = Encoded {
            form: form & !EXCEPTIONS,
            has_exceptions: form & EXCEPTIONS != 0,
            bytes: cursor.block("values")?,
        };
        values::decode(encoded, count, &mut values)?;
    }
    Ok(values)
}

fn put_integers(out: &mut Vec<u8>, histograms: &[Histogram<u64>]) {
    let positive = layout(histograms.iter().map(|histogram| &histogram.positive));
    let negative = layout(histograms.iter().map(|histogram| &histogram.negative));
    put_layout(out, &positive);
    put_layout(out, &negative);
    let sums: Vec<f64> = histograms[1..].iter().map(|histogram| histogram.sum).collect();
    put_values(out, &sums);
    let column = |of: &dyn Fn(&Histogram<u64>) -> u64| histograms.iter().map(of).collect();
    let mut columns: Vec<Vec<u64>> = vec![column(&unbucketed), column(&|h| h.zero_count)];
    columns.extend(positive.iter().map(|index| column(&|h| bucket(&h.positive, *index))));
    columns.extend(negative.iter().map(|index| column(&|h| bucket(&h.negative, *index))));
    put_columns(out, &columns);
}

/// All observations less those in buckets: none, unless NaN was observed.
fn unbucketed(histogram: &Histogram<u64>) -> u64 {
    histogram.count.wrapping_sub(bucketed(histogram))
}

fn bucketed(histogram: &Histogram<u64>) -> u64 {
    let buckets = histogram.positive.iter().chain(&histogram.negative);
    buckets.fold(histogram.zero_count, |sum, bucket| sum.wrapping_add(bucket.count))
}

fn take_integers(
    cursor: &mut Cursor<'_>,
    first: Histogram<u64>,
    count: usize,
) -> Result<Vec<NativeHistogram>, Malformed> {
    let (positive, negative) = (take_layout(cursor)?, take_layout(cursor)?);
    let sums = take_values(cursor, count - 1)?;
    let mut histograms = vec![first; count];
    for (histogram, sum) in histograms[1..].iter_mut().zip(sums) {
        histogram.sum = sum;
    }
    let first = &histograms[0];
    let mut firsts = vec![unbucketed(first), first.zero_count];
    firsts.extend(positive.iter().map(|index| bucket(&first.positive, *index)));
    firsts.extend(negative.iter().map(|index| bucket(&first.negative, *index)));
    let columns = take_columns(cursor, &firsts, count)?;
    for (row, histogram) in histograms.iter_mut().enumerate() {
        let buckets = |layout: &[i32], columns: &[Vec<u64>]| {
            let all = layout
                .iter()
                .zip(columns)
                .map(|(&index, column)| Bucket { index, count: column[row] });
            all.filter(|bucket| bucket.count != 0).collect()
        };
        histogram.zero_count = columns[1][row];
        histogram.positive = buckets(&positive, &columns[2..]);
        histogram.negative = buckets(&negative, &columns[2 + positive.len()..]);
        histogram.count = bucketed(histogram).wrapping_add(columns[0][row]);
    }
    Ok(histograms.into_iter().map(NativeHistogram::Integer).collect())
}

fn put_floats(out: &mut Vec<u8>, histograms: &[Histogram<f64>]) {
    let positive = layout(histograms.iter().map(|histogram| &histogram.positive));
    let negative = layout(histograms.iter().map(|histogram| &histogram.negative));
    put_layout(out, &positive);
    put_layout(out, &negative);
    let mut column = |of: &dyn Fn(&Histogram<f64>) -> f64| {
        put_values(out, &histograms[1..].iter().map(of).collect::<Vec<_>>());
    };
    column(&|histogram| histogram.sum);
    column(&|histogram| histogram.count);
    column(&|histogram| histogram.zero_count);
    for &index in &positive {
        column(&|histogram| bucket(&histogram.positive, index));
    }
    for &index in &negative {
        column(&|histogram| bucket(&histogram.negative, index));
    }
}

fn take_floats(
    cursor: &mut Cursor<'_>,
    first: Histogram<f64>,
    count: usize,
) -> Result<Vec<NativeHistogram>, Malformed> {
    let (positive, negative) = (take_layout(cursor)?, take_layout(cursor)?);
    let mut histograms = vec![first; count];
    let behind = &mut histograms[1..];
    for histogram in behind.iter_mut() {
        (histogram.positive, histogram.negative) = (Vec::new(), Vec::new());
    }
    let mut column = |set: &mut dyn FnMut(&mut Histogram<f64>, f64)| {
        let values = take_values(cursor, count - 1)?;
        behind.iter_mut().zip(values).for_each(|(histogram, value)| set(histogram, value));
        Ok::<(), Malformed>(())
    };
    column(&mut |histogram, sum| histogram.sum = sum)?;
    column(&mut |histogram, count| histogram.count = count)?;
    column(&mut |histogram, zero_count| histogram.zero_count = zero_count)?;
    // An absent bucket was written as 0; a bucket of count 0 is never kept.
    let push = |buckets: &mut Vec<Bucket>, index, count: f64| {
        if count != 0.0 {
            buckets.push(Bucket { index, count });
        }
    };
    for index in positive {
        column(&mut |histogram, count| push(&mut histogram.positive, index, count))?;
    }
    for index in negative {
        column(&mut |histogram, count| push(&mut histogram.negative, index, count))?;
    }
    Ok(histograms.into_iter().map(NativeHistogram::Float).collect())
}

/// Writes columns whose first values are known otherwise.
fn put_columns(out: &mut Vec<u8>, columns: &[Vec<u64>]) {
    let mut bits = BitString::new();
    for column in columns {
        let mut differences: Vec<i64> =
            column.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i64).collect();
        if differences.iter().all(|difference| *difference == 0) {
            out.push(0);
            continue;
        }
        let base = median(&mut differences.clone());
        for difference in &mut differences {
            *difference = difference.wrapping_sub(base);
        }
        let distances = differences.iter().map(|distance| zigzag(*distance));
        let k = best_parameter(distances.clone());
        out.push(k as u8 + 1);
        put_signed(out, base);
        distances.for_each(|distance| push_rice(&mut bits, distance, k));
    }
    put_varint(out, bits.word_count() as u64);
    bits.words().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn median(values: &mut [i64]) -> i64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

fn take_columns(
    cursor: &mut Cursor<'_>,
    firsts: &[u64],
    count: usize,
) -> Result<Vec<Vec<u64>>, Malformed> {
    let mut heads = Vec::with_capacity(firsts.len());
    for _ in firsts {
        heads.push(match cursor.u8("column")?.checked_sub(1).map(u32::from) {
            None => None,
            Some(k) if k <= RICE_MAX => Some((k, cursor.signed("column base")?)),
            Some(_) => return Err(Malformed("column")),
        });
    }
    let words = cursor.count(8, "column words")?;
    let words: Vec<u64> =
        (0..words).map(|_| cursor.u64("column words")).collect::<Result<_, _>>()?;
    let mut bits = BitReader::new(&words);
    let mut columns = Vec::with_capacity(firsts.len());
    for (first, head) in firsts.iter().zip(heads) {
        let mut value = *first;
        let mut column = vec![value; count];
        if let Some((k, base)) = head {
            for place in &mut column[1..] {
                let difference = base.wrapping_add(unzigzag(read_rice(&mut bits, k)));
                value = value.wrapping_add(difference as u64);
                *place = value;
            }
        }
        columns.push(column);
    }
    if bits.overran() { Err(Malformed("columns")) } else { Ok(columns) }
}

#[cfg(test)]
mod tests;
