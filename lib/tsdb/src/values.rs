//! Encoding a sealed chunk's values: whichever of four forms is smallest.
//!
//! ```text
//! values   := if there are any: exceptions varint { position varint, bits u64 LE }, form
//! CONSTANT := the bits, big-endian, without the zero bytes behind
//! INTEGERS := pco chunk meta, pco page        of the values as i64
//! FLOATS   := pco chunk meta, pco page        of the values as f64
//! XOR      := words u64 LE                    xor.rs without times
//! ```
//!
//! An exception is a value that would spoil the form of all others, such as a staleness marker:
//! its place holds the value before it (the one behind it, at the start), its bits are listed.
//! Positions are differences to the exception before. All bits of all values are kept.

use pco::{
    ChunkConfig, DeltaSpec,
    data_types::Number,
    wrapped::{FileCompressor, FileDecompressor},
};

use crate::{
    bits::{BitReader, BitString},
    bytes::{Cursor, Malformed, put_varint},
    xor::{ValueReader, ValueWindow},
};

/// Every value is the same.
const CONSTANT: u8 = 1;
/// Every value is an integer.
const INTEGERS: u8 = 2;
/// Floats.
const FLOATS: u8 = 3;
/// The fallback.
const XOR: u8 = 4;

/// More exceptions than this cost more than they gain.
const EXCEPTIONS_MAX: usize = 32;

/// pco's effort: 3 is within 1 % of the default's size at these lengths, in a third of its time.
const PCO_LEVEL: usize = 3;

/// Differences of differences must be smaller by this factor: they are noisier to encode.
const SECOND_ORDER_GAIN: f64 = 2.0;

/// The two bytes that name pco's format, which pages leave out: this format's version stands for
/// them.
const PCO_HEADER: [u8; 2] = [4, 1];

/// The values of a chunk, encoded.
#[derive(Debug)]
pub(crate) struct EncodedValues {
    /// 1 to 4.
    pub(crate) form: u8,
    pub(crate) has_exceptions: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The same, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded<'b> {
    pub(crate) form: u8,
    pub(crate) has_exceptions: bool,
    pub(crate) bytes: &'b [u8],
}

/// Encodes `values`, of which there is at least one.
pub(crate) fn encode(values: &[f64]) -> EncodedValues {
    let (form, bytes) = encode_plain(values);
    if let Some(excepted) = Excepted::new(values) {
        let (form, plain) = encode_plain(&excepted.smoothed);
        let mut with_list = excepted.list;
        with_list.extend_from_slice(&plain);
        if with_list.len() < bytes.len() {
            return EncodedValues { form, has_exceptions: true, bytes: with_list };
        }
    }
    EncodedValues { form, has_exceptions: false, bytes }
}

/// Encodes without exceptions; returns the form's number and the bytes.
fn encode_plain(values: &[f64]) -> (u8, Vec<u8>) {
    let first = values[0].to_bits();
    let mut bytes = Vec::new();
    if values.iter().all(|value| value.to_bits() == first) {
        let kept = 8 - first.trailing_zeros().min(64) as usize / 8;
        bytes.extend_from_slice(&first.to_be_bytes()[..kept]);
        return (CONSTANT, bytes);
    }
    let order = delta_order(values);
    let (form, packed) = match integers(values) {
        Some(integers) => (INTEGERS, pack(&integers, order)),
        None => (FLOATS, pack(values, order)),
    };
    let packed_len = packed.as_ref().map_or(usize::MAX, Vec::len);
    if packed_len > xor_bits_min(values) / 8 {
        put_xor(&mut bytes, values);
    }
    match packed {
        Some(packed) if bytes.is_empty() || packed_len < bytes.len() => (form, packed),
        _ => (XOR, bytes),
    }
}

/// Which differences are smallest: of the values to their mean (0), to the value before (1), or
/// of those differences (2). pco would find out by trying, which takes most of its time.
fn delta_order(values: &[f64]) -> usize {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let (mut spread, mut first, mut second) = (0.0, 0.0, 0.0);
    let (mut value_before, mut step_before) = (values[0], 0.0);
    for &value in values {
        let step = value - value_before;
        spread += (value - mean).abs();
        first += f64::abs(step);
        second += f64::abs(step - step_before);
        (value_before, step_before) = (value, step);
    }
    // Not finite sums compare as false: the order then is the one that suits counters.
    match () {
        () if spread < first => 0,
        () if second * SECOND_ORDER_GAIN < first => 2,
        () => 1,
    }
}

/// Bits that XOR takes at least.
fn xor_bits_min(values: &[f64]) -> usize {
    let changed = |pair: &[f64]| match pair[0].to_bits() ^ pair[1].to_bits() {
        0 => 1,
        difference => 66 - difference.leading_zeros().min(31) - difference.trailing_zeros(),
    };
    64 + values.windows(2).map(|pair| changed(pair) as usize).sum::<usize>()
}

/// The values as integers, if each has one with the same bits as a float.
fn integers(values: &[f64]) -> Option<Vec<i64>> {
    let integer = |value: &f64| {
        let integer = *value as i64;
        ((integer as f64).to_bits() == value.to_bits() && integer != i64::MAX).then_some(integer)
    };
    values.iter().map(integer).collect()
}

/// `None` where pco refuses, which leaves the fallback.
fn pack<T: Number>(values: &[T], delta_order: usize) -> Option<Vec<u8>> {
    let delta = DeltaSpec::TryConsecutive(delta_order);
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL).with_delta_spec(delta);
    let mut chunk = FileCompressor::default().chunk_compressor(values, &config).ok()?;
    let bytes = chunk.write_meta(Vec::new()).ok()?;
    chunk.write_page(0, bytes).ok()
}

fn unpack<T: Number + Default>(bytes: &[u8], count: usize) -> Result<Vec<T>, Malformed> {
    let malformed = |_| Malformed("pco values");
    let (file, _) = FileDecompressor::new(PCO_HEADER.as_slice()).map_err(malformed)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(bytes).map_err(malformed)?;
    let mut values = vec![T::default(); count];
    let mut page = chunk.page_decompressor(rest, count).map_err(malformed)?;
    let progress = page.read(&mut values).map_err(malformed)?;
    if progress.n_processed == count { Ok(values) } else { Err(Malformed("pco values")) }
}

fn put_xor(out: &mut Vec<u8>, values: &[f64]) {
    let mut bits = BitString::new();
    let mut window = ValueWindow::default();
    let mut previous = values[0].to_bits();
    bits.push(previous, 64);
    for value in &values[1..] {
        window.append(&mut bits, value.to_bits() ^ previous);
        previous = value.to_bits();
    }
    bits.words().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn read_xor(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Malformed> {
    if !bytes.len().is_multiple_of(8) || count > bytes.len() * 8 {
        return Err(Malformed("xor values"));
    }
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let words: Vec<u64> = words.collect();
    let mut bits = BitReader::new(&words);
    let mut window = ValueReader::default();
    let mut value = bits.read(64);
    out.push(f64::from_bits(value));
    for _ in 1..count {
        value ^= window.read(&mut bits);
        out.push(f64::from_bits(value));
    }
    if bits.overran() { Err(Malformed("xor values")) } else { Ok(()) }
}

/// Values whose odd ones out were smoothed over.
struct Excepted {
    smoothed: Vec<f64>,
    list: Vec<u8>,
}

impl Excepted {
    /// `None` where nothing is to be gained.
    fn new(values: &[f64]) -> Option<Self> {
        let is_odd = |value: &f64| !value.is_finite();
        let odd: Vec<usize> = (0..values.len()).filter(|&at| is_odd(&values[at])).collect();
        if odd.is_empty() || odd.len() > EXCEPTIONS_MAX {
            return None;
        }
        let mut plain = *values.iter().find(|value| !is_odd(value))?;
        let mut smoothed = values.to_vec();
        for value in &mut smoothed {
            if is_odd(value) {
                *value = plain;
            }
            plain = *value;
        }
        let mut list = Vec::new();
        put_varint(&mut list, odd.len() as u64);
        let mut previous = 0;
        for at in odd {
            put_varint(&mut list, (at - previous) as u64);
            list.extend_from_slice(&values[at].to_bits().to_le_bytes());
            previous = at;
        }
        Some(Self { smoothed, list })
    }
}

/// Appends the `count` values that [`encode`] encoded.
pub(crate) fn decode(
    encoded: Encoded<'_>,
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(encoded.bytes);
    let exceptions = if encoded.has_exceptions { cursor.count(9, "exceptions")? } else { 0 };
    let mut odd = [(0, 0.0); EXCEPTIONS_MAX];
    let odd = odd.get_mut(..exceptions).ok_or(Malformed("exceptions"))?;
    let mut position = 0usize;
    for exception in odd.iter_mut() {
        let ahead = cursor.varint("exception")?.min(count as u64) as usize;
        position += ahead;
        *exception = (position, f64::from_bits(cursor.u64("exception")?));
    }
    let first = out.len();
    match encoded.form {
        CONSTANT => {
            let kept = cursor.rest();
            let mut bits = [0; 8];
            bits.get_mut(..kept.len()).ok_or(Malformed("constant"))?.copy_from_slice(kept);
            let value = f64::from_bits(u64::from_be_bytes(bits));
            out.resize(first + count, value);
        }
        INTEGERS => {
            out.extend(unpack::<i64>(cursor.rest(), count)?.into_iter().map(|v| v as f64));
        }
        FLOATS => out.extend(unpack::<f64>(cursor.rest(), count)?),
        XOR => read_xor(cursor.rest(), count, out)?,
        _ => return Err(Malformed("form of values unknown to this program")),
    }
    for &(position, value) in odd.iter() {
        *out.get_mut(first + position).ok_or(Malformed("exception"))? = value;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use narthex_model::stale_nan;
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64]) -> (u8, usize) {
        let EncodedValues { form, has_exceptions, bytes } = encode(values);
        let mut read = vec![7.0];
        let encoded = Encoded { form, has_exceptions, bytes: &bytes };
        decode(encoded, values.len(), &mut read).expect("valid");
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read[1..]), bits(values));
        (form, bytes.len())
    }

    #[test]
    fn each_form_is_chosen_where_it_is_smallest() {
        assert_eq!(check(&[4.5; 480]), (CONSTANT, 2));
        assert_eq!(check(&[0.0; 480]), (CONSTANT, 0));
        assert_eq!(check(&[0.1; 480]), (CONSTANT, 8));
        let counter: Vec<f64> = (0..480).map(|i| f64::from(i * i % 977 + 1000 * i)).collect();
        assert_eq!(check(&counter).0, INTEGERS);
        let gauge: Vec<f64> = (0..480).map(|i| f64::from(i * 37 % 1000) / 100.0).collect();
        assert_eq!(check(&gauge).0, FLOATS);
        assert_eq!(check(&[1.0, 2.5]).0, XOR);
    }

    #[test]
    fn a_staleness_marker_does_not_spoil_the_rest() {
        let mut values = [4.5; 480];
        values[479] = stale_nan();
        assert!(check(&values).1 < 16);
        values[0] = f64::INFINITY;
        assert!(check(&values).1 < 28);
    }

    #[test]
    fn unknown_forms_are_refused_by_name() {
        let encoded = Encoded { form: 9, has_exceptions: false, bytes: &[] };
        let error = decode(encoded, 1, &mut Vec::new());
        assert_eq!(error, Err(Malformed("form of values unknown to this program")));
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000i32..1000).prop_map(f64::from),
            (0i32..1000).prop_map(|v| f64::from(v) / 100.0),
            Just(stale_nan()),
            Just(-0.0),
            Just(9.223_372_036_854_776e18),
            Just(-9.223_372_036_854_776e18),
        ]
    }

    proptest! {
        #[test]
        fn values_read_back_bit_by_bit(values in proptest::collection::vec(value(), 1..500)) {
            check(&values);
        }

        #[test]
        fn integers_with_a_few_odd_ones_read_back(
            base in -(1i64 << 53)..1 << 53,
            steps in proptest::collection::vec(0i64..100, 1..500),
            odd in proptest::collection::vec((any::<usize>(), value()), 0..10),
        ) {
            let mut sum = base;
            let mut values: Vec<f64> = steps.iter().map(|step| { sum += step; sum as f64 }).collect();
            for (at, value) in odd {
                let at = at % values.len();
                values[at] = value;
            }
            check(&values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(form in 0u8..6, bytes: Vec<u8>, count in 0usize..600, has_exceptions: bool) {
            let _ = decode(Encoded { form, has_exceptions, bytes: &bytes }, count, &mut Vec::new());
        }
    }
}
