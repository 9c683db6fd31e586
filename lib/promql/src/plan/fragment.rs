//! Fragments where they run, and their answers where they meet.

use std::sync::Arc;

use narthex_model::{Labels, Timestamp};

use super::FragmentKind;
use crate::{
    Annotations, ParseError, ParseOptions, SampleBuffer, SelectRequest, SelectedSeries, SeriesData,
    SeriesSource, SourceError,
    ast::{Expr, ExprKind, Selector},
    eval::{
        EvalError, EvalOptions, EvalStats, Inputs, PartialAggregate, evaluate_columns,
        evaluate_partial, has_partial_form,
    },
    parse,
    value::Series,
};

/// Samples of one answer out of a stream of them, histograms and labels counting by their size: a
/// message of less than 1 MiB.
const PART_WEIGHT: usize = 16 << 10;

/// What a shard answers to a fragment.
#[derive(Debug)]
pub struct FragmentAnswer {
    /// The answer.
    pub content: FragmentContent,
    /// What is odd about it; places are those of the fragment's text.
    pub annotations: Annotations,
    /// What it took.
    pub stats: EvalStats,
}

/// The answer to a fragment.
#[derive(Debug)]
pub enum FragmentContent {
    /// A vector over the fragment's steps.
    Columns(Vec<Series>),
    /// Parts of an aggregation, one per group.
    Partial(Vec<PartialAggregate>),
    /// Samples as stored.
    Samples(Vec<SampledSeries>),
}

/// A series with stored samples, staleness markers included.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledSeries {
    /// The labels.
    pub labels: Labels,
    /// The samples.
    pub samples: Arc<SampleBuffer>,
}

/// Why a fragment has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FragmentError {
    /// The text is none that a querier of this version sends.
    #[error("parse fragment")]
    Parse(#[from] ParseError),
    /// The text does not fit the kind.
    #[error("fragment is no {0}")]
    Kind(&'static str),
    /// As for any query.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Evaluates a fragment over the series of `inputs`. The options have the fragment's steps.
pub fn run_fragment(
    text: &str,
    kind: FragmentKind,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<FragmentAnswer, FragmentError> {
    let parse_options = ParseOptions { input_bytes_max: u32::MAX, ..ParseOptions::everything() };
    let expr = parse(text, &parse_options)?;
    match kind {
        FragmentKind::Columns | FragmentKind::Absent => {
            let columns = evaluate_columns(&expr, options, inputs)?;
            let content = FragmentContent::Columns(columns.series);
            Ok(FragmentAnswer { content, annotations: columns.annotations, stats: columns.stats })
        }
        FragmentKind::Partial => {
            let has_parts = matches!(&expr.unwrapped().kind,
                ExprKind::Aggregate(aggregate) if has_partial_form(aggregate.op));
            if !has_parts {
                return Err(FragmentError::Kind("aggregation with parts"));
            }
            let partial = evaluate_partial(&expr, options, inputs)?;
            let content = FragmentContent::Partial(partial.groups);
            Ok(FragmentAnswer { content, annotations: partial.annotations, stats: partial.stats })
        }
        FragmentKind::Samples => {
            let selector = selector(&expr)?;
            let (start, end) = (options.steps.start, options.steps.end);
            let request = SelectRequest { matchers: &selector.matchers, start, end };
            let (series, samples_read) = read_samples(&request, options, inputs)?;
            Ok(FragmentAnswer {
                content: FragmentContent::Samples(series),
                annotations: Annotations::default(),
                stats: EvalStats {
                    samples_read: samples_read as u64,
                    samples_peak: samples_read,
                    ..EvalStats::default()
                },
            })
        }
    }
}

fn selector(expr: &Expr) -> Result<&Selector, FragmentError> {
    match &expr.kind {
        ExprKind::Selector(selector) => Ok(selector),
        _ => Err(FragmentError::Kind("selector")),
    }
}

/// As [`run_fragment`] of [`FragmentKind::Samples`], but series come in the order of their labels,
/// some at a time: one that is long goes on in the next answer. So nothing larger than a series is
/// held. Ends early when `take` returns `false`.
pub fn stream_samples(
    text: &str,
    options: &EvalOptions,
    inputs: Inputs<'_>,
    take: &mut dyn FnMut(FragmentAnswer) -> bool,
) -> Result<(), FragmentError> {
    let parse_options = ParseOptions { input_bytes_max: u32::MAX, ..ParseOptions::everything() };
    let expr = parse(text, &parse_options)?;
    let (start, end) = (options.steps.start, options.steps.end);
    let request = SelectRequest { matchers: &selector(&expr)?.matchers, start, end };
    let mut selected = inputs.source.select(&request).map_err(EvalError::from)?;
    selected.sort_by(|left, right| left.labels.cmp(&right.labels));
    let mut part = StreamedPart::default();
    let mut samples = SampleBuffer::new();
    for SelectedSeries { labels, data } in selected {
        if inputs.cancel.is_cancelled() {
            return Err(EvalError::Cancelled.into());
        }
        samples.clear();
        data.read(start, end, &mut samples).map_err(EvalError::from)?;
        if samples.sample_weight() > options.samples_max {
            return Err(EvalError::TooManySamples.into());
        }
        let mut piece = SampleBuffer::new();
        part.weight += labels.as_bytes().len() / size_of::<(i64, f64)>();
        for at in 0..samples.len() {
            piece.push_of(&samples, at);
            part.weight += samples.histogram(at).map_or(1, |it| it.sample_weight());
            if part.weight >= PART_WEIGHT {
                part.add(&labels, std::mem::take(&mut piece));
                if !take(std::mem::take(&mut part).into_answer()) {
                    return Ok(());
                }
            }
        }
        part.add(&labels, piece);
    }
    if !part.series.is_empty() {
        take(part.into_answer());
    }
    Ok(())
}

/// As [`run_fragment`] of [`FragmentKind::Samples`], but of each series only the newest sample.
pub fn newest_samples(
    text: &str,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<FragmentAnswer, FragmentError> {
    let parse_options = ParseOptions { input_bytes_max: u32::MAX, ..ParseOptions::everything() };
    let expr = parse(text, &parse_options)?;
    let (start, end) = (options.steps.start, options.steps.end);
    let request = SelectRequest { matchers: &selector(&expr)?.matchers, start, end };
    let mut newest = StreamedPart::default();
    let mut samples = SampleBuffer::new();
    for SelectedSeries { labels, data } in
        inputs.source.select(&request).map_err(EvalError::from)?
    {
        if inputs.cancel.is_cancelled() {
            return Err(EvalError::Cancelled.into());
        }
        samples.clear();
        data.read(start, end, &mut samples).map_err(EvalError::from)?;
        let mut last = SampleBuffer::new();
        if let Some(at) = samples.len().checked_sub(1) {
            last.push_of(&samples, at);
        }
        newest.weight += last.sample_weight();
        if newest.weight > options.samples_max {
            return Err(EvalError::TooManySamples.into());
        }
        newest.add(&labels, last);
    }
    Ok(newest.into_answer())
}

/// What of a streamed answer is told next.
#[derive(Default)]
struct StreamedPart {
    series: Vec<SampledSeries>,
    weight: usize,
}

impl StreamedPart {
    fn add(&mut self, labels: &Labels, samples: SampleBuffer) {
        if !samples.is_empty() {
            self.series.push(SampledSeries { labels: labels.clone(), samples: Arc::new(samples) });
        }
    }

    fn into_answer(self) -> FragmentAnswer {
        FragmentAnswer {
            content: FragmentContent::Samples(self.series),
            annotations: Annotations::default(),
            stats: EvalStats {
                samples_read: self.weight as u64,
                samples_peak: self.weight,
                ..EvalStats::default()
            },
        }
    }
}

fn read_samples(
    request: &SelectRequest<'_>,
    options: &EvalOptions,
    inputs: Inputs<'_>,
) -> Result<(Vec<SampledSeries>, usize), EvalError> {
    let mut read = Vec::new();
    let mut weight = 0;
    for SelectedSeries { labels, data } in inputs.source.select(request)? {
        if inputs.cancel.is_cancelled() {
            return Err(EvalError::Cancelled);
        }
        let mut samples = SampleBuffer::new();
        data.read(request.start, request.end, &mut samples)?;
        weight += samples.sample_weight();
        if weight > options.samples_max {
            return Err(EvalError::TooManySamples);
        }
        read.push(SampledSeries { labels, samples: Arc::new(samples) });
    }
    Ok((read, weight))
}

/// Series in the order of their labels: the order in which one storage would hand them out.
pub(super) fn sorted(mut series: Vec<Series>) -> Vec<Series> {
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    series
}

/// What every shard answers: the steps at which all of them say that something is absent.
pub(super) fn absent_from_all(answers: Vec<Vec<Series>>) -> Vec<Series> {
    let mut answers = answers.into_iter();
    let mut all = answers.next().unwrap_or_default();
    for answer in answers {
        match (all.first_mut(), answer.first()) {
            (Some(series), Some(other)) => {
                series.column.retain_steps(|step| other.column.is_present(step));
            }
            _ => return Vec::new(),
        }
    }
    all
}

/// Samples that shards have sent.
#[derive(Default)]
pub(super) struct FetchedSource {
    series: Vec<SampledSeries>,
}

impl FetchedSource {
    /// Adds series. One that several fragments or several shards sent is kept once for each.
    pub(super) fn add(&mut self, series: Vec<SampledSeries>) {
        self.series.extend(series);
        self.series.sort_by(|left, right| left.labels.cmp(&right.labels));
    }
}

impl SeriesSource for FetchedSource {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SourceError> {
        let is_wanted = |labels: &Labels| {
            request.matchers.iter().all(|matcher| matcher.matches(labels.value(matcher.name())))
        };
        let mut selected = Vec::new();
        for same in self.series.chunk_by(|left, right| left.labels == right.labels) {
            if is_wanted(&same[0].labels) {
                let parts: Vec<_> = same.iter().map(|part| Arc::clone(&part.samples)).collect();
                let data = Arc::new(FetchedSeries(SampleBuffer::together(&parts)));
                selected.push(SelectedSeries { labels: same[0].labels.clone(), data });
            }
        }
        Ok(selected)
    }
}

/// The samples of a series, fetched.
struct FetchedSeries(Arc<SampleBuffer>);

impl SeriesData for FetchedSeries {
    fn read(
        &self,
        start: Timestamp,
        end: Timestamp,
        into: &mut SampleBuffer,
    ) -> Result<(), SourceError> {
        let times = self.0.timestamps();
        let first = times.partition_point(|time| *time < start.millis());
        let last = times.partition_point(|time| *time <= end.millis());
        (first..last).for_each(|at| into.push_of(&self.0, at));
        Ok(())
    }
}
