//! How long samples are kept: classes, rules and horizons.
//!
//! Each class of samples has a horizon, which `Horizon` entries move; what lies behind it is seen
//! by nobody and goes by whole days. Which class the samples of a series and day are of is decided
//! when the first of them comes, by the first rule that the series matches, and stays: other rules
//! are for days that begin later, and for series that have no sample of the day.
//!
//! Invariants
//! * a series is present on a day exactly if it may have samples there that are kept;
//! * nothing in memory is of a day that a horizon has passed, so that a day which comes to be
//!   kept anew, by another rule, begins empty.

use std::{collections::BTreeMap, sync::Arc};

use narthex_model::{MatchOp, Matcher};

use crate::{
    RetentionClass, SeriesId,
    bytes::{Cursor, Malformed, put_block, put_varint},
    days::{DAY_MS, day_of},
    head::Head,
    index::Index,
    series::GROUP_SERIES,
};

const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

/// Says of which class the samples of series are.
#[derive(Debug, Clone)]
pub struct RetentionRule {
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
    /// The class of what matches.
    pub class: RetentionClass,
}

/// A matcher is what it was made from.
fn parts(matcher: &Matcher) -> (MatchOp, &str, &str) {
    (matcher.op(), matcher.name(), matcher.value())
}

impl PartialEq for RetentionRule {
    fn eq(&self, other: &Self) -> bool {
        self.class == other.class
            && self.matchers.iter().map(parts).eq(other.matchers.iter().map(parts))
    }
}

impl Eq for RetentionRule {}

/// `rules := { class varint, matchers varint { op u8, name block, value block } }`
pub(crate) fn encode_rules(rules: &[RetentionRule], out: &mut Vec<u8>) {
    for rule in rules {
        put_varint(out, u64::from(rule.class.0));
        put_varint(out, rule.matchers.len() as u64);
        for (op, name, value) in rule.matchers.iter().map(parts) {
            out.push(OPS.iter().position(|it| *it == op).expect("all are listed") as u8);
            put_block(out, name.as_bytes());
            put_block(out, value.as_bytes());
        }
    }
}

pub(crate) fn decode_rules(bytes: &[u8]) -> Result<Arc<[RetentionRule]>, Malformed> {
    let (mut cursor, mut rules) = (Cursor::new(bytes), Vec::new());
    while !cursor.is_empty() {
        let class = RetentionClass::read(&mut cursor)?;
        let mut matchers = Vec::new();
        for _ in 0..cursor.count(3, "matchers")? {
            let op = usize::from(cursor.u8("operator")?);
            let op = *OPS.get(op).ok_or(Malformed("operator"))?;
            let mut text = || {
                let bytes = cursor.block("matcher")?;
                str::from_utf8(bytes).map_err(|_| Malformed("matcher"))
            };
            let (name, value) = (text()?, text()?);
            matchers.push(Matcher::new(op, name, value).map_err(|_| Malformed("pattern"))?);
        }
        rules.push(RetentionRule { matchers, class });
    }
    Ok(rules.into())
}

/// The class of what comes of a series now: the first rule that it matches has it.
pub(crate) fn class_by_rules(
    rules: &[RetentionRule],
    index: &Index,
    series: SeriesId,
) -> RetentionClass {
    let rule = rules.iter().find(|rule| index.matches(series, &rule.matchers));
    rule.map_or(RetentionClass::default(), |rule| rule.class)
}

/// The first time that is kept of each class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Horizons(pub(crate) BTreeMap<RetentionClass, i64>);

impl Horizons {
    /// The first time that is kept of a class.
    pub(crate) fn of(&self, class: RetentionClass) -> i64 {
        self.0.get(&class).copied().unwrap_or(i64::MIN)
    }

    /// From here on samples of every class are kept.
    pub(crate) fn highest(&self) -> i64 {
        self.0.values().copied().max().unwrap_or(i64::MIN)
    }

    /// Before it, samples of no class are kept.
    pub(crate) fn lowest(&self) -> i64 {
        let all = self.classes().map(|class| self.of(class));
        all.min().unwrap_or(i64::MIN)
    }

    /// The default class, and every other that samples were ever of.
    pub(crate) fn classes(&self) -> impl Iterator<Item = RetentionClass> {
        let others = self.0.keys().copied().filter(|class| *class != RetentionClass::default());
        std::iter::once(RetentionClass::default()).chain(others)
    }

    /// Whether samples were ever of another class than the default one.
    pub(crate) fn has_classes(&self) -> bool {
        self.classes().nth(1).is_some()
    }

    /// Notes that samples of a class came.
    pub(crate) fn know(&mut self, class: RetentionClass) {
        if class != RetentionClass::default() {
            self.0.entry(class).or_insert(i64::MIN);
        }
    }
}

impl Head {
    /// The class that a series' samples of a time are of, or will be.
    fn class_at(&self, series: SeriesId, time: i64) -> RetentionClass {
        let known = self.days.class_on(day_of(time), series);
        known.unwrap_or_else(|| class_by_rules(&self.settings.retention, &self.index, series))
    }

    /// The first time at or before the day of `time` that is kept of a series, were a sample of
    /// `time` the next to come.
    pub(crate) fn floor_at(&self, series: SeriesId, time: i64) -> i64 {
        // The earliest time stands for "no sample yet" and is never stored.
        self.horizons.of(self.class_at(series, time)).max(i64::MIN + 1)
    }

    /// Notes that a series has a sample at `time`.
    pub(crate) fn mark(&mut self, time: i64, series: SeriesId) {
        let (rules, index) = (&self.settings.retention, &self.index);
        let class = || class_by_rules(rules, index, series);
        if let Some(class) = self.days.mark(time, series, self.applied.index, class) {
            self.horizons.know(class);
        }
    }

    /// Moves a horizon forward, and forgets what lies behind it by whole days.
    pub(crate) fn move_horizon(&mut self, class: RetentionClass, time: i64) {
        if time <= self.horizons.of(class) {
            return;
        }
        self.horizons.0.insert(class, time);
        self.earliest = i64::MIN;
        self.renew_limits();
        let first_day = day_of(time);
        for (day, passed) in self.days.forget(class, first_day, self.applied.index) {
            let first = day.saturating_mul(DAY_MS);
            for id in &passed {
                if self.group(SeriesId(id)).is_some() {
                    self.end_overlapping(SeriesId(id), first, first.saturating_add(DAY_MS - 1));
                }
            }
        }
        if class == RetentionClass::default() {
            self.families.forget_before(first_day, self.applied.index);
        }
        let ended_before = day_of(self.horizons.highest()).saturating_mul(DAY_MS);
        let (days, present) = (&self.days, self.days.present(i64::MIN, i64::MAX));
        self.finished.retain(|&series, chunks| {
            chunks.retain(|chunk| {
                let start = chunk.start();
                start >= ended_before || days.class_on(day_of(start), SeriesId(series)).is_some()
            });
            !chunks.is_empty()
        });
        for number in 0..self.groups.len() {
            self.remove_ended(number, ended_before, |id| present.contains(id.0));
        }
    }

    /// Removes the series of a group that have no sample since `ended_before` and are on no day.
    fn remove_ended(
        &mut self,
        number: usize,
        ended_before: i64,
        is_present: impl Fn(SeriesId) -> bool,
    ) {
        let Some(group) = self.groups[number].as_deref() else { return };
        let ended = group.hot.iter().enumerate().filter(|(place, hot)| {
            let newest_end = if hot.started { hot.run.last_time() } else { hot.day_end };
            let id = SeriesId((number * GROUP_SERIES + place) as u32);
            hot.alive && newest_end < ended_before && !is_present(id)
        });
        let ended: Vec<usize> = ended.map(|(place, _)| place).collect();
        for place in ended {
            self.remove_series(SeriesId((number * GROUP_SERIES + place) as u32));
        }
        self.remove_dead_group(number);
    }
}
