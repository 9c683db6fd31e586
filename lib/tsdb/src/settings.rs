//! What apply must know of the config. Part of the shard's state, changed only by the log.
//!
//! ```text
//! settings := { tag u8, value }     tags strictly increase
//! value    := varint                tags below 32
//!           | block                 the others
//! ```

use std::{sync::Arc, time::Duration};

use crate::{
    bytes::{Cursor, Malformed, put_block, put_varint},
    retention::{RetentionRule, decode_rules, encode_rules},
};

const OUT_OF_ORDER_WINDOW: u8 = 1;
const AHEAD_MAX: u8 = 2;
const SERIES_MAX: u8 = 3;
const REFUSES_NEW_SERIES: u8 = 4;
const SERIES_PER_TARGET_MAX: u8 = 5;
const SERIES_PER_JOB_MAX: u8 = 6;
const NODE_IS_FULL: u8 = 7;
const EXEMPLARS_MAX: u8 = 16;
const FULL_JOBS: u8 = 32;
const RETENTION: u8 = 33;

/// The settings of a shard. A `Settings` entry replaces all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How far behind its series' newest sample a sample may be. Default 30 min; 0 is off.
    pub out_of_order_window: Duration,
    /// How far ahead of the leader's clock a sample may be. Default 10 min, Prometheus's bound
    /// against senders with a wrong clock.
    pub ahead_max: Duration,
    /// How many series the shard may have; new ones beyond it are refused. Which series count is
    /// said in `counts.rs`. Default 0: no limit.
    pub series_max: u32,
    /// How many series may have the same `job` and `instance`. Default 0: no limit.
    pub series_per_target_max: u32,
    /// How many series of this shard may have the same `job`. Default 0: no limit.
    pub series_per_job_max: u32,
    /// Whether new series are refused because a node of the shard has as many, in all its shards,
    /// as it may. Default no.
    pub is_node_full: bool,
    /// Jobs that have as many series as they may, in all shards, in order. Default none.
    pub full_jobs: Arc<[Box<str>]>,
    /// Whether new series are refused, whatever their number: a node is short of disk space.
    /// Default no.
    pub refuses_new_series: bool,
    /// Which series are of another retention class than the default one; the first rule that a
    /// series matches counts. Default none.
    pub retention: Arc<[RetentionRule]>,
    /// How many exemplars the shard keeps. Default 16 384: Prometheus's 100 000 over six shards.
    pub exemplars_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            out_of_order_window: Duration::from_secs(30 * 60),
            ahead_max: Duration::from_secs(10 * 60),
            series_max: 0,
            series_per_target_max: 0,
            series_per_job_max: 0,
            is_node_full: false,
            full_jobs: Arc::default(),
            refuses_new_series: false,
            retention: Arc::default(),
            exemplars_max: 16 << 10,
        }
    }
}

impl Settings {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let fields = [
            (OUT_OF_ORDER_WINDOW, millis(self.out_of_order_window)),
            (AHEAD_MAX, millis(self.ahead_max)),
            (SERIES_MAX, u64::from(self.series_max)),
            (REFUSES_NEW_SERIES, u64::from(self.refuses_new_series)),
            (SERIES_PER_TARGET_MAX, u64::from(self.series_per_target_max)),
            (SERIES_PER_JOB_MAX, u64::from(self.series_per_job_max)),
            (NODE_IS_FULL, u64::from(self.is_node_full)),
            (EXEMPLARS_MAX, u64::from(self.exemplars_max)),
        ];
        for (tag, value) in fields {
            out.push(tag);
            put_varint(out, value);
        }
        if !self.full_jobs.is_empty() {
            let mut jobs = Vec::new();
            self.full_jobs.iter().for_each(|job| put_block(&mut jobs, job.as_bytes()));
            out.push(FULL_JOBS);
            put_block(out, &jobs);
        }
        if !self.retention.is_empty() {
            let mut rules = Vec::new();
            encode_rules(&self.retention, &mut rules);
            out.push(RETENTION);
            put_block(out, &rules);
        }
    }

    /// Whether anything limits how many series there may be.
    pub(crate) fn limits_series(&self) -> bool {
        self.series_max > 0 || self.series_per_target_max > 0 || self.series_per_job_max > 0
    }

    /// Reads to the cursor's end. Settings left out keep their defaults; an unknown one is an
    /// error, since apply would act without it.
    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut settings = Self::default();
        let mut previous = 0;
        while !cursor.is_empty() {
            let tag = cursor.u8("setting")?;
            if tag <= previous {
                return Err(Malformed("setting"));
            }
            previous = tag;
            match tag {
                OUT_OF_ORDER_WINDOW => {
                    settings.out_of_order_window =
                        Duration::from_millis(cursor.varint("out-of-order window")?);
                }
                AHEAD_MAX => settings.ahead_max = Duration::from_millis(cursor.varint("ahead")?),
                SERIES_MAX => settings.series_max = cursor.varint_u32("series limit")?,
                REFUSES_NEW_SERIES => settings.refuses_new_series = flag(cursor)?,
                SERIES_PER_TARGET_MAX => {
                    settings.series_per_target_max = cursor.varint_u32("series limit")?;
                }
                SERIES_PER_JOB_MAX => {
                    settings.series_per_job_max = cursor.varint_u32("series limit")?;
                }
                NODE_IS_FULL => settings.is_node_full = flag(cursor)?,
                EXEMPLARS_MAX => settings.exemplars_max = cursor.varint_u32("exemplar limit")?,
                FULL_JOBS => settings.full_jobs = jobs(cursor.block("full jobs")?)?,
                RETENTION => settings.retention = decode_rules(cursor.block("retention")?)?,
                _ => return Err(Malformed("setting unknown to this program")),
            }
        }
        Ok(settings)
    }
}

fn flag(cursor: &mut Cursor<'_>) -> Result<bool, Malformed> {
    match cursor.varint("flag of settings")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("flag of settings")),
    }
}

fn jobs(bytes: &[u8]) -> Result<Arc<[Box<str>]>, Malformed> {
    let (mut cursor, mut jobs) = (Cursor::new(bytes), Vec::<Box<str>>::new());
    while !cursor.is_empty() {
        let job = str::from_utf8(cursor.block("full job")?).map_err(|_| Malformed("full job"))?;
        if jobs.last().is_some_and(|before| **before >= *job) {
            return Err(Malformed("order of full jobs"));
        }
        jobs.push(job.into());
    }
    Ok(jobs.into())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use narthex_model::{MatchOp, Matcher};

    use super::*;
    use crate::RetentionClass;

    fn read(bytes: &[u8]) -> Result<Settings, Malformed> {
        Settings::decode(&mut Cursor::new(bytes))
    }

    #[test]
    fn settings_read_back() {
        let settings = Settings {
            series_per_target_max: 1,
            series_per_job_max: 2,
            is_node_full: true,
            full_jobs: ["a".into(), "b".into()].into(),
            retention: [
                RetentionRule {
                    matchers: vec![Matcher::equal("job", "x")],
                    class: RetentionClass(7),
                },
                RetentionRule {
                    matchers: vec![
                        Matcher::new(MatchOp::NotRegex, "a", "b.*").expect("valid"),
                        Matcher::new(MatchOp::NotEqual, "c", "").expect("valid"),
                    ],
                    class: RetentionClass(400),
                },
            ]
            .into(),
            ..Settings::default()
        };
        for settings in [settings, Settings::default()] {
            let mut bytes = Vec::new();
            settings.encode(&mut bytes);
            assert_eq!(read(&bytes), Ok(settings));
        }
        assert_eq!(read(&[]), Ok(Settings::default()));
    }

    #[test]
    fn what_apply_would_act_without_is_refused() {
        assert!(read(&[8, 0]).is_err(), "an unknown setting");
        assert!(read(&[7, 2]).is_err(), "no flag");
        assert!(read(&[6, 0, 5, 0]).is_err(), "out of order");
        assert!(read(&[FULL_JOBS, 4, 1, b'b', 1, b'a']).is_err(), "jobs out of order");
        assert!(read(&[RETENTION, 5, 1, 1, 4, 0, 0]).is_err(), "an unknown operator");
        assert!(read(&[RETENTION, 6, 1, 1, 2, 0, 1, b'(']).is_err(), "no pattern");
    }
}
