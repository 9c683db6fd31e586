use narthex_model::histogram::CUSTOM_BUCKETS_SCHEMA;
use proptest::prelude::*;

use super::*;

fn encoded(histogram: &NativeHistogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    histogram.encode(&mut bytes);
    bytes
}

fn check(histograms: &Histograms) -> usize {
    let bytes = encode(histograms);
    let back = decode(&bytes, histograms.len()).expect("valid");
    assert_eq!(back.len(), histograms.len());
    for (back, wanted) in back.iter().zip(histograms) {
        assert_eq!(encoded(back), encoded(wanted));
    }
    bytes.len()
}

fn buckets<C: Default + PartialEq>(counts: Vec<(i32, C)>) -> Vec<Bucket<C>> {
    let mut counts = counts;
    counts.sort_by_key(|count| count.0);
    counts.dedup_by_key(|count| count.0);
    let populated = counts.into_iter().filter(|(_, count)| *count != C::default());
    populated.map(|(index, count)| Bucket { index, count }).collect()
}

fn hint() -> impl Strategy<Value = CounterResetHint> {
    prop_oneof![
        3 => Just(CounterResetHint::Unknown),
        1 => Just(CounterResetHint::Reset),
        1 => Just(CounterResetHint::NotReset),
        1 => Just(CounterResetHint::Gauge),
    ]
}

fn integers() -> impl Strategy<Value = Vec<Arc<NativeHistogram>>> {
    let count = || prop_oneof![0u64..5, 0u64..1000, any::<u64>()];
    let side = || proptest::collection::vec((-9i32..9, count()), 0..6);
    let one = (hint(), count(), count(), any::<u64>(), side(), side(), 0u8..8);
    proptest::collection::vec(one, 1..40).prop_map(|rows| {
        let row =
            |(hint, zero_count, count, sum, positive, negative, stale): (_, _, _, _, _, _, u8)| {
                if stale == 0 {
                    return Arc::new(NativeHistogram::stale_marker(false));
                }
                Arc::new(NativeHistogram::Integer(Histogram {
                    counter_reset_hint: hint,
                    schema: 3,
                    zero_threshold: 0.5,
                    zero_count,
                    count,
                    sum: f64::from_bits(sum),
                    positive: buckets(positive),
                    negative: buckets(negative),
                    ..Histogram::default()
                }))
            };
        rows.into_iter().map(row).collect()
    })
}

fn floats() -> impl Strategy<Value = Vec<Arc<NativeHistogram>>> {
    let count = || prop_oneof![any::<f64>(), (0u32..50).prop_map(f64::from)];
    let side = proptest::collection::vec((0i32..4, count()), 0..4);
    let one = (hint(), count(), any::<u64>(), side, 0u8..8);
    proptest::collection::vec(one, 1..40).prop_map(|rows| {
        let bounds: Arc<[f64]> = Arc::from([1.0, 2.0, 4.0]);
        let row = |(hint, count, sum, positive, stale): (_, _, _, _, u8)| {
            if stale == 0 {
                return Arc::new(NativeHistogram::stale_marker(true));
            }
            Arc::new(NativeHistogram::Float(Histogram {
                counter_reset_hint: hint,
                schema: CUSTOM_BUCKETS_SCHEMA,
                count,
                sum: f64::from_bits(sum),
                positive: buckets(positive),
                custom_values: Arc::clone(&bounds),
                ..Histogram::default()
            }))
        };
        rows.into_iter().map(row).collect()
    })
}

proptest! {
    #[test]
    fn histograms_read_back_bit_by_bit(histograms in prop_oneof![integers(), floats()]) {
        check(&histograms);
    }

    #[test]
    fn columns_read_back(
        columns in proptest::collection::vec((proptest::collection::vec(any::<u64>(), 30), any::<bool>()), 1..5),
    ) {
        let small = |value: &u64, is_small| if is_small { value % 300 } else { *value };
        let columns: Vec<Vec<u64>> = columns
            .iter()
            .map(|(values, is_small)| values.iter().map(|v| small(v, *is_small)).collect())
            .collect();
        let mut bytes = Vec::new();
        put_columns(&mut bytes, &columns);
        let firsts: Vec<u64> = columns.iter().map(|column| column[0]).collect();
        let mut cursor = Cursor::new(&bytes);
        prop_assert_eq!(take_columns(&mut cursor, &firsts, 30), Ok(columns));
        prop_assert!(cursor.is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, damage: u8, at: usize, count in 1usize..130) {
        let _ = decode(&bytes, count);
        let mut damaged = encode(&workload(30, 5.0));
        let at = at % damaged.len();
        damaged[at] = damage;
        let _ = decode(&damaged, 30);
    }
}

/// Request latencies of a service: twenty buckets, `per_step` observations a scrape.
fn workload(steps: usize, per_step: f64) -> Vec<Arc<NativeHistogram>> {
    let mut seed = 7u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    let weights: Vec<f64> = (0..20).map(|i| (-f64::from(i - 8).powi(2) / 18.0).exp()).collect();
    let total: f64 = weights.iter().sum();
    let (mut counts, mut sum) = (vec![0u64; 20], 0.0);
    let mut histograms = Vec::new();
    for _ in 0..steps {
        for (at, weight) in weights.iter().enumerate() {
            // A normal distribution stands for Poisson's.
            let mean = per_step * weight / total;
            let noise: f64 = (0..12).map(|_| random()).sum::<f64>() - 6.0;
            let more = (mean + noise * mean.sqrt()).round().max(0.0);
            counts[at] += more as u64;
            sum += more * 0.01 * 1.09f64.powi(at as i32) * (0.9 + 0.2 * random());
        }
        let rows = counts.iter().enumerate().map(|(at, count)| (at as i32 - 40, *count));
        histograms.push(Arc::new(NativeHistogram::Integer(Histogram {
            schema: 3,
            zero_threshold: 2.938_735_877_055_719e-39,
            count: counts.iter().sum(),
            sum,
            positive: buckets(rows.collect()),
            ..Histogram::default()
        })));
    }
    histograms
}

#[test]
fn a_busy_histogram_takes_less_than_a_byte_a_bucket() {
    let size = check(&workload(120, 1500.0));
    assert!(size / 120 < 22, "{}", size / 120);
    let quiet = check(&workload(120, 3.0));
    assert!(quiet / 120 < 13, "{}", quiet / 120);
}
