use narthex_model::{Exemplar, MetricType, NativeHistogram, histogram::Bucket};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
enum Who {
    Labels(Labels),
    Known(KnownSeries),
}

fn read(bytes: &[u8]) -> Result<Vec<Found>, MalformedBatch> {
    let mut reader = BatchReader::new(bytes)?;
    let (mut found, mut samples) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next(&mut samples)? {
        found.push(match item {
            Item::Floats(subject) => Found::Floats(who_is(subject)?, samples.clone()),
            Item::Rich(rich) => Found::rich(rich)?,
            Item::Metadata(metadata) => Found::Metadata(format!("{metadata:?}")),
        });
    }
    Ok(found)
}

fn who_is(subject: Subject<'_>) -> Result<Who, InvalidLabels> {
    Ok(match subject {
        Subject::Labels(labels) => Who::Labels(Labels::from_bytes(labels)?),
        Subject::Known(known) => Who::Known(known),
    })
}

/// Items with all that tells them apart; floats as their bits.
#[derive(Debug, PartialEq)]
enum Found {
    Floats(Who, Vec<Sample>),
    Rich {
        who: Who,
        floats: Vec<Point<u64>>,
        histograms: Vec<Point<Vec<u8>>>,
        exemplars: Vec<Exemplar>,
    },
    Metadata(String),
}

impl Found {
    fn rich(rich: Rich<'_>) -> Result<Self, MalformedBatch> {
        let exemplar = |found: EncodedExemplar<'_>| {
            let Sample { timestamp, value } = found.sample;
            Ok(Exemplar { labels: Labels::from_bytes(found.labels)?, value, timestamp })
        };
        Ok(Self::Rich {
            who: who_is(rich.subject)?,
            floats: rich.floats.iter().map(|point| with(point, point.value.to_bits())).collect(),
            histograms: rich
                .histograms
                .iter()
                .map(|point| with(point, point.value.as_bytes().to_vec()))
                .collect(),
            exemplars: rich
                .exemplars
                .into_iter()
                .map(exemplar)
                .collect::<Result<_, InvalidLabels>>()?,
        })
    }
}

fn with<V, W>(point: &Point<V>, value: W) -> Point<W> {
    Point { timestamp: point.timestamp, start: point.start, value }
}

/// Halves have all that the whole has, in its order; a single series is cut between samples.
fn check_halves(batch: &[u8], want: &[Found]) {
    let Some(halves) = halve(batch).unwrap() else {
        assert!(match want {
            [] | [Found::Rich { .. } | Found::Metadata(_)] => true,
            [Found::Floats(_, samples)] => samples.len() < 2,
            _ => false,
        });
        return;
    };
    let [first, second] = halves.map(|half| read(&half).unwrap());
    if let (
        [Found::Floats(who, samples)],
        [Found::Floats(of, earlier)],
        [Found::Floats(_, later)],
    ) = (want, &first[..], &second[..])
    {
        assert_eq!((who, samples), (of, &[&earlier[..], later].concat()));
        return;
    }
    assert!(!first.is_empty() && !second.is_empty());
    assert!(first.iter().chain(&second).eq(want));
}

#[test]
fn halves_of_a_backfill_are_backfills() {
    let mut writer = BatchWriter::backfill();
    let labels = Labels::from_pairs([("a", "b")]).unwrap();
    writer.push(&labels, [Sample::default(); 2].into_iter());
    for half in halve(&writer.finish()).unwrap().unwrap() {
        assert!(BatchReader::new(&half).unwrap().is_backfill());
    }
}

fn who() -> impl Strategy<Value = Who> {
    let labels = "[a-z]{0,9}"
        .prop_map(|name| Who::Labels(Labels::from_pairs([("__name__", name)]).unwrap()));
    let known = any::<(u32, u32)>()
        .prop_map(|(series, fingerprint)| Who::Known(KnownSeries { series, fingerprint }));
    prop_oneof![labels, known]
}

fn histogram(index: i32, count: u64, sum: f64) -> NativeHistogram {
    let positive = vec![Bucket { index, count: count + 1 }];
    let histogram =
        narthex_model::histogram::Histogram { count, sum, positive, ..Default::default() };
    NativeHistogram::Integer(histogram)
}

proptest! {
    #[test]
    fn what_is_rich_reads_back(
        who in who(),
        times in proptest::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 0..6),
        split in 0usize..6,
        metric_type in 0u8..8,
        texts: (String, String, String),
    ) {
        let point = |&(time, start, _): &(i64, i64, u64)| Point {
            timestamp: Timestamp::from_millis(time),
            start: Timestamp::from_millis(start),
            value: (),
        };
        let (floats, histograms) = times.split_at(split.min(times.len()));
        let floats: Vec<_> = floats.iter().map(|t| with(&point(t), f64::from_bits(t.2))).collect();
        let histograms: Vec<_> = histograms
            .iter()
            .map(|t| with(&point(t), histogram(t.1 as i32, t.2 >> 8, f64::from_bits(t.2))))
            .collect();
        let exemplar = |time: &(i64, i64, u64)| Exemplar {
            labels: Labels::from_pairs([("trace_id", format!("{}", time.2))]).unwrap(),
            value: f64::from_bits(time.2),
            timestamp: Timestamp::from_millis(time.0),
        };
        let exemplars: Vec<_> = times.iter().map(exemplar).collect();
        let metadata = FamilyMetadata {
            family: &texts.0,
            metric_type: MetricType::from_number(metric_type).unwrap(),
            help: &texts.1,
            unit: &texts.2,
        };
        let owner = match &who {
            Who::Labels(labels) => Owner::Labels(labels),
            Who::Known(known) => Owner::Known(*known),
        };
        let mut writer = BatchWriter::new();
        let rows = RichRows { floats: &floats, histograms: &histograms, exemplars: &exemplars };
        let fingerprint = writer.push_rich(owner, rows);
        writer.push_metadata(&metadata);
        prop_assert_eq!(writer.samples(), times.len());
        match &who {
            Who::Labels(labels) => {
                prop_assert_eq!(fingerprint, Labels::fingerprint_of(labels.as_bytes()));
            }
            Who::Known(known) => prop_assert_eq!(fingerprint, known.fingerprint),
        }
        let bytes = |point: &Point<NativeHistogram>| {
            let mut bytes = Vec::new();
            point.value.encode(&mut bytes);
            with(point, bytes)
        };
        let want = [
            Found::Rich {
                who,
                floats: floats.iter().map(|point| with(point, point.value.to_bits())).collect(),
                histograms: histograms.iter().map(bytes).collect(),
                exemplars,
            },
            Found::Metadata(format!("{metadata:?}")),
        ];
        let batch = writer.finish();
        check_halves(&batch, &want);
        prop_assert_eq!(read(&batch).unwrap(), want);
    }

    #[test]
    fn a_batch_reads_back_bit_by_bit(
        series in proptest::collection::vec(
            (who(), proptest::collection::vec((any::<i64>(), any::<u64>()), 0..5)), 0..5),
    ) {
        let mut writer = BatchWriter::new();
        let mut want = Vec::new();
        for (who, samples) in series {
            let samples: Vec<Sample> = samples.into_iter().map(|(millis, bits)| Sample {
                timestamp: Timestamp::from_millis(millis),
                value: f64::from_bits(bits),
            }).collect();
            match &who {
                Who::Labels(labels) => writer.push(labels, samples.iter().copied()),
                Who::Known(known) => writer.push_known(*known, samples.iter().copied()),
            }
            want.push(Found::Floats(who, samples));
        }
        let batch = writer.finish();
        check_halves(&batch, &want);
        prop_assert_eq!(read(&batch).unwrap(), want);
    }

    #[test]
    fn pairs_are_written_as_labels_are(
        pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z]{1,200}", 0..5),
    ) {
        let labels = Labels::from_pairs(&pairs).unwrap();
        let (mut one, mut other) = (BatchWriter::new(), BatchWriter::new());
        one.push(&labels, std::iter::once(Sample::default()));
        let pairs: Vec<_> = labels.iter().collect();
        let fingerprint = other.push_pairs(&pairs, std::iter::once(Sample::default()));
        prop_assert_eq!(fingerprint, Labels::fingerprint_of(labels.as_bytes()));
        prop_assert_eq!(one.finish(), other.finish());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        not_plain: bool,
        kind in 0u8..4,
    ) {
        let _ = (read(&bytes), halve(&bytes));
        if not_plain && bytes.len() > 4 {
            bytes[..4].copy_from_slice(&[VERSION, 9, NOT_PLAIN, kind]);
        }
        let _ = (read(&bytes), halve(&bytes));
    }
}

#[test]
fn floats_with_nothing_beside_them_cost_nothing_more() {
    let mut writer = BatchWriter::new();
    let sample = Sample { timestamp: Timestamp::from_millis(5), value: 1.0 };
    writer.push_known(KnownSeries { series: 63, fingerprint: 9 }, std::iter::once(sample));
    // Number 1, fingerprint 4, count 1, time 1, value 8.
    assert_eq!(writer.len(), HEAD_BYTES + 15);
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    assert_eq!(read(&[VERSION, 1, NOT_PLAIN, 3]).unwrap_err(), MalformedBatch::Kind(3));
}
