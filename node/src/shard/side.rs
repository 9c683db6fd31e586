//! What a shard answers of label sets, names, exemplars and metadata, in parts that fit messages.

use narthex_model::{Exemplar, Labels, Timestamp};
use narthex_proto::internal::v1::{
    ExemplarsPart, MetadataFamily, MetadataPart, NamesPart, SelectRequest, SeriesExemplars,
    SeriesPart, StoredExemplar,
};
use narthex_tsdb::ShardReader;
use tonic::Status;

use crate::service::selectors;

/// Bytes of a part, about; one label set may have twice as many, and a message four times.
const PART_BYTES: usize = 2 << 20;
/// What a label set, or an exemplar with its labels, takes in a message beside its series' labels.
const ROW_BYTES: usize = 512;
/// Exemplars of a series that go together.
const EXEMPLARS_TOGETHER: usize = PART_BYTES / ROW_BYTES;
/// Families of a part: each has 4 KiB at most.
const FAMILIES_PER_PART: usize = 512;

/// Label sets, in their order.
pub fn series(labels: &[Labels]) -> Vec<SeriesPart> {
    let (mut parts, mut held) = (Vec::<SeriesPart>::new(), usize::MAX);
    for labels in labels {
        let bytes = labels.as_bytes();
        held = held.saturating_add(bytes.len() + ROW_BYTES);
        if held > PART_BYTES {
            parts.push(SeriesPart::default());
            held = bytes.len() + ROW_BYTES;
        }
        let part = parts.last_mut().expect("the first label set begins one");
        part.labels.push(bytes.to_vec().into());
    }
    parts
}

/// Names or values of labels, in their order.
pub fn names(names: Vec<String>) -> Vec<NamesPart> {
    let (mut parts, mut held) = (Vec::<NamesPart>::new(), usize::MAX);
    for name in names {
        // A name's own bytes, its tag and its length.
        let bytes = name.len() + 8;
        held = held.saturating_add(bytes);
        if held > PART_BYTES {
            parts.push(NamesPart::default());
            held = bytes;
        }
        parts.last_mut().expect("the first name begins one").names.push(name);
    }
    parts
}

/// The exemplars of series that match. Looks at all that are kept, on the blocking pool.
pub async fn exemplars(
    reader: ShardReader,
    request: SelectRequest,
) -> Result<Vec<ExemplarsPart>, Status> {
    let selectors = selectors(&request)?;
    let start = Timestamp::from_millis(request.start_ms);
    let end = Timestamp::from_millis(request.end_ms);
    let found = tokio::task::spawn_blocking(move || reader.exemplars(&selectors, start, end));
    let found = found.await.map_err(|error| Status::internal(error.to_string()))?;
    let (mut parts, mut held) = (vec![ExemplarsPart::default()], 0);
    for (labels, exemplars) in found {
        // One series alone may have more than a part should.
        for some in exemplars.chunks(EXEMPLARS_TOGETHER) {
            let bytes = labels.as_bytes().len() + some.len() * ROW_BYTES;
            if held > 0 && held + bytes > PART_BYTES {
                parts.push(ExemplarsPart::default());
                held = 0;
            }
            held += bytes;
            let part = parts.last_mut().expect("there is one from the start");
            part.series.push(message(&labels, some));
        }
    }
    Ok(parts)
}

fn message(labels: &Labels, exemplars: &[Exemplar]) -> SeriesExemplars {
    let exemplar = |exemplar: &Exemplar| StoredExemplar {
        labels: exemplar.labels.as_bytes().to_vec().into(),
        value: exemplar.value,
        timestamp_ms: exemplar.timestamp.millis(),
    };
    SeriesExemplars {
        labels: labels.as_bytes().to_vec().into(),
        exemplars: exemplars.iter().map(exemplar).collect(),
    }
}

/// What is known of a family, or of all if `name` is empty.
pub fn metadata(reader: &ShardReader, name: &str) -> Vec<MetadataPart> {
    let mut families = Vec::new();
    reader.visit_families(|family| {
        if name.is_empty() || family.family == name {
            families.push(MetadataFamily {
                name: family.family.to_owned(),
                metric_type: family.metric_type as u32,
                help: family.help.to_owned(),
                unit: family.unit.to_owned(),
            });
        }
    });
    let parts = families.chunks(FAMILIES_PER_PART);
    parts.map(|part| MetadataPart { families: part.to_vec(), not_leader: None }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_values_come_in_parts_that_fit_messages() {
        let values: Vec<String> = (0..1_000_000).map(|at| format!("pod-{at:030}")).collect();
        let parts = names(values.clone());
        let bytes = |part: &NamesPart| part.names.iter().map(String::len).sum::<usize>();
        assert!(parts.iter().all(|part| bytes(part) <= PART_BYTES));
        assert!(parts.len() < 30, "{}", parts.len());
        let all: Vec<String> = parts.into_iter().flat_map(|part| part.names).collect();
        assert_eq!(all, values);
        assert!(names(Vec::new()).is_empty());
    }
}
