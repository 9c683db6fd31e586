//! What whoever appends is told.

use narthex_model::Labels;
use narthex_proto::internal::v1::{
    Appended, Busy, NotLeader, Refused, Unknown, UnknownSeries, append_response,
};
use narthex_tsdb::{CommandOutcome, Refusal, SeriesId, Settings, ShardReader};
use tonic::Status;

use crate::shard::{batch, forward::FENCED, task::WriteError};

/// Characters of a series' labels in an answer.
const SHOWN_CHARS: usize = 1000;

/// What an outcome is the answer to.
pub(super) struct Answered<'a> {
    /// The ids of the series that came with labels, as they were known when it was encoded.
    pub names: &'a [SeriesId],
    /// What was sent.
    pub batch: &'a [u8],
    /// The replica's series.
    pub reader: &'a ShardReader,
}

/// The numbers of a batch's labelled series: those that were known, and those that apply gave.
fn numbers(names: &[SeriesId], outcome: &CommandOutcome) -> Vec<u32> {
    let mut resolved = outcome.resolved.iter();
    let number = |name: &SeriesId| match *name {
        SeriesId::NONE => resolved.next().copied().unwrap_or(SeriesId::NONE).0,
        SeriesId(known) => known,
    };
    names.iter().map(number).collect()
}

/// The one place that chooses an answer.
pub(super) fn append_result(
    outcome: Result<CommandOutcome, WriteError>,
    answered: &Answered<'_>,
) -> Result<append_response::Result, Status> {
    use append_response::Result as Response;
    match outcome {
        // A series may end between the look-up and apply.
        Ok(outcome) if outcome.refused(Refusal::UnknownSeries) > 0 => {
            Ok(Response::UnknownSeries(UnknownSeries {}))
        }
        Ok(outcome) => Ok(Response::Appended(Appended {
            samples: outcome.appended + outcome.repeated,
            refused: refused(&outcome, answered),
            series: numbers(answered.names, &outcome),
            histograms: outcome.histograms,
            exemplars: outcome.exemplars,
            exemplars_refused: outcome.exemplars_refused,
            families_refused: outcome.families_refused,
        })),
        Err(WriteError::UnknownSeries) => Ok(Response::UnknownSeries(UnknownSeries {})),
        Err(WriteError::NotLeader { leader }) => {
            let leader_node_id = leader.map_or(0, |leader| leader.0);
            Ok(Response::NotLeader(NotLeader { leader_node_id }))
        }
        Err(WriteError::Busy { retry_after, reason }) => {
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            Ok(Response::Busy(Busy { retry_after_ms, reason }))
        }
        Err(unknown @ WriteError::Unknown) => {
            Ok(Response::Unknown(Unknown { reason: unknown.to_string() }))
        }
        Err(problem @ (WriteError::Invalid(_) | WriteError::TooLarge { .. })) => {
            Err(Status::invalid_argument(problem.to_string()))
        }
    }
}

fn refused(outcome: &CommandOutcome, answered: &Answered<'_>) -> Vec<Refused> {
    let reasons = Refusal::ALL.into_iter().filter(|reason| outcome.refused(*reason) > 0);
    let fenced =
        outcome.fenced.map(|_| Refused { reason: FENCED.to_owned(), ..Refused::default() });
    reasons
        .map(|reason| Refused {
            reason: reason.name().to_owned(),
            samples: outcome.refused(reason),
            example: example(reason, outcome, answered),
        })
        .chain(fenced)
        .collect()
}

/// A sample that was refused for this reason, or the limit and its flag.
fn example(reason: Refusal, outcome: &CommandOutcome, answered: &Answered<'_>) -> String {
    let first = outcome.first_refused.filter(|first| first.reason == reason);
    match (first, limit(reason, &answered.reader.settings())) {
        (None, None) => String::new(),
        (None, Some(limit)) => limit,
        (Some(_), Some(limit)) => {
            let numbers = numbers(answered.names, outcome);
            let unnamed = numbers.iter().position(|number| *number == SeriesId::NONE.0);
            let labels = unnamed.and_then(|at| batch::labels_at(answered.batch, at));
            labels.map_or(limit.clone(), |labels| format!("{}: {limit}", shown(&labels)))
        }
        (Some(first), None) => {
            let labels = answered.reader.labels(first.series).unwrap_or_default();
            format!("{} at {}", shown(&labels), first.timestamp)
        }
    }
}

/// Labels as far as an answer needs them: they may have megabytes.
fn shown(labels: &Labels) -> String {
    let text = labels.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a limit of series allows, and where it is set.
fn limit(reason: Refusal, settings: &Settings) -> Option<String> {
    let (whose, max, key) = match reason {
        Refusal::TargetSeriesLimit => ("target", settings.series_per_target_max, "target"),
        Refusal::JobSeriesLimit => ("job", settings.series_per_job_max, "job"),
        Refusal::NodeSeriesLimit => ("node", settings.series_max, "node"),
        _ => return None,
    };
    Some(format!("its {whose} has the {max} series that --ingest.max-series-per-{key} allows"))
}
