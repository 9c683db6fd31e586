//! How a query was answered: the pieces it was cut into, what was asked of which shards, what came
//! back and what that took.

use std::time::Duration;

use narthex_cluster::ShardId;
use narthex_promql::{Fragment, FragmentAnswer, FragmentContent, FragmentKind, Scope, Steps};

use crate::json::{Json, Sink};

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// Shards that there are; those that were not asked can hold nothing that matters.
    pub shards: usize,
    /// The first steps, if they were remembered of a query before.
    pub remembered: Option<Steps>,
    /// One, unless the query's range reaches over a change of shards or all is remembered.
    pub pieces: Vec<PieceExplained>,
}

impl Explanation {
    /// Nothing was asked yet of so many shards.
    pub fn of(shards: usize) -> Self {
        Self { shards, remembered: None, pieces: Vec::new() }
    }
}

/// What was done for some of a query's steps.
#[derive(Debug, Clone)]
pub struct PieceExplained {
    /// Those steps.
    pub steps: Steps,
    /// Whether samples were gathered and evaluated here, as they lie on shards of two epochs.
    pub is_gathered: bool,
    /// What was asked. None: the query needs no samples.
    pub fragments: Vec<FragmentExplained>,
    /// What putting the answers together took.
    pub finished_in: Duration,
}

/// What was asked of shards.
#[derive(Debug, Clone)]
pub struct FragmentExplained {
    query: String,
    kind: &'static str,
    scope: &'static str,
    steps: Steps,
    /// Who answered, in order.
    pub shards: Vec<ShardExplained>,
}

/// What a shard answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardExplained {
    /// Which one.
    pub shard: ShardId,
    /// Bytes that it sent.
    pub bytes: usize,
    /// Series, or groups, in them.
    pub series: usize,
    /// Samples that it read.
    pub samples_read: u64,
    /// From the question to the last byte.
    pub took: Duration,
}

impl FragmentExplained {
    /// A fragment that nobody has answered.
    pub fn new(fragment: &Fragment) -> Self {
        let kind = match fragment.kind {
            FragmentKind::Columns => "evaluate",
            FragmentKind::Partial => "aggregate",
            FragmentKind::Absent => "absent",
            FragmentKind::Samples => "samples",
        };
        let scope = match fragment.scope {
            Scope::All => "all",
            Scope::Keyed => "keyed",
            Scope::Unkeyed => "unkeyed",
        };
        let (query, steps) = (fragment.text.clone(), fragment.steps);
        Self { query, kind, scope, steps, shards: Vec::new() }
    }

    /// Adds an answer.
    pub fn add(
        &mut self,
        shard: ShardId,
        answer: &FragmentAnswer,
        (bytes, took): (usize, Duration),
    ) {
        let series = match &answer.content {
            FragmentContent::Columns(series) => series.len(),
            FragmentContent::Partial(groups) => groups.len(),
            FragmentContent::Samples(series) => series.len(),
        };
        let samples_read = answer.stats.samples_read;
        self.shards.push(ShardExplained { shard, bytes, series, samples_read, took });
    }
}

/// Writes an explanation as an object.
pub fn write<S: Sink>(json: &mut Json<S>, explanation: &Explanation) {
    json.raw("{").name("shards").integer(explanation.shards);
    if let Some(steps) = explanation.remembered {
        json.name("remembered").raw("{");
        write_steps(json, steps);
        json.raw("}");
    }
    json.name("pieces").raw("[");
    for piece in &explanation.pieces {
        json.element().raw("{");
        write_steps(json, piece.steps);
        json.name("gathered").boolean(piece.is_gathered);
        json.name("fragments").raw("[");
        for fragment in &piece.fragments {
            write_fragment(json, fragment, explanation.shards);
        }
        json.raw("]").name("finishedInSeconds").float(piece.finished_in.as_secs_f64()).raw("}");
    }
    json.raw("]}");
}

fn write_fragment<S: Sink>(json: &mut Json<S>, fragment: &FragmentExplained, shards: usize) {
    json.element().raw("{").name("query").text(&fragment.query);
    json.name("kind").text(fragment.kind).name("series").text(fragment.scope);
    write_steps(json, fragment.steps);
    json.name("shardsPruned").integer(shards.saturating_sub(fragment.shards.len()));
    json.name("shards").raw("[");
    for told in &fragment.shards {
        json.element().raw("{").name("shard").integer(told.shard.0);
        json.name("bytes").integer(told.bytes);
        json.name("series").integer(told.series);
        json.name("samplesRead").integer(told.samples_read);
        json.name("seconds").float(told.took.as_secs_f64()).raw("}");
    }
    json.raw("]}");
}

fn write_steps<S: Sink>(json: &mut Json<S>, steps: Steps) {
    json.name("start").time(steps.start).name("end").time(steps.end);
    json.name("step").float(steps.step_millis as f64 / 1000.0);
}
