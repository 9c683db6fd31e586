//! What apply must know of the config. Part of the shard's state, changed only by the log.
//!
//! ```text
//! settings := { tag u8, value varint }     tags strictly increase
//! ```

use std::time::Duration;

use crate::bytes::{Cursor, Malformed, put_varint};

const OUT_OF_ORDER_WINDOW: u8 = 1;
const AHEAD_MAX: u8 = 2;
const SERIES_MAX: u8 = 3;
const REFUSES_NEW_SERIES: u8 = 4;
const EXEMPLARS_MAX: u8 = 16;

/// The settings of a shard. A `Settings` entry replaces all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How far behind its series' newest sample a sample may be. Default 30 min; 0 is off.
    pub out_of_order_window: Duration,
    /// How far ahead of the leader's clock a sample may be. Default 10 min, Prometheus's bound
    /// against senders with a wrong clock.
    pub ahead_max: Duration,
    /// How many series the shard may have; new ones beyond it are refused. Default 0: no limit.
    pub series_max: u32,
    /// Whether new series are refused, whatever their number: a node is short of disk space.
    /// Default no.
    pub refuses_new_series: bool,
    /// How many exemplars the shard keeps. Default 16 384: Prometheus's 100 000 over six shards.
    pub exemplars_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            out_of_order_window: Duration::from_secs(30 * 60),
            ahead_max: Duration::from_secs(10 * 60),
            series_max: 0,
            refuses_new_series: false,
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
            (EXEMPLARS_MAX, u64::from(self.exemplars_max)),
        ];
        for (tag, value) in fields {
            out.push(tag);
            put_varint(out, value);
        }
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
                REFUSES_NEW_SERIES => {
                    settings.refuses_new_series = match cursor.varint("new series")? {
                        0 => false,
                        1 => true,
                        _ => return Err(Malformed("new series")),
                    };
                }
                EXEMPLARS_MAX => settings.exemplars_max = cursor.varint_u32("exemplar limit")?,
                _ => return Err(Malformed("setting unknown to this program")),
            }
        }
        Ok(settings)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
