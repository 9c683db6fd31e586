//! What shards keep, and how many series they take.

use crate::{Refusal, codec::wire_struct};

/// The longest out-of-order window, in milliseconds: a year.
pub const OUT_OF_ORDER_WINDOW_MILLIS_MAX: i64 = 366 * 86_400_000;

/// What shards keep. Leaders hand a change on to their shards as an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How far behind its series' newest sample a sample may be, in milliseconds. Default 30 min.
    pub out_of_order_window_millis: i64,
    /// How long samples are kept, in milliseconds. Default 15 days, as in Prometheus.
    pub retention_millis: i64,
    /// Bytes of a node's folder beyond which its shards drop their oldest days; 0, the default,
    /// for no limit.
    pub retention_bytes: i64,
    /// Series that may have the same `job` and `instance`; 0, the default, for no limit.
    pub series_per_target_max: u32,
    /// Series that may have the same `job`; 0, the default, for no limit.
    pub series_per_job_max: u32,
    /// Series that a node may have in all its shards; 0, the default, for no limit.
    pub series_per_node_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            out_of_order_window_millis: 30 * 60 * 1000,
            retention_millis: 15 * 86_400_000,
            retention_bytes: 0,
            series_per_target_max: 0,
            series_per_job_max: 0,
            series_per_node_max: 0,
        }
    }
}

/// Other settings, by whoever asks for them; what is `None` stays as it is. So two that change
/// different settings at the same time both have their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// See [`Settings::out_of_order_window_millis`].
    pub out_of_order_window_millis: Option<i64>,
    /// See [`Settings::retention_millis`].
    pub retention_millis: Option<i64>,
    /// See [`Settings::retention_bytes`].
    pub retention_bytes: Option<i64>,
    /// See [`Settings::series_per_target_max`].
    pub series_per_target_max: Option<u32>,
    /// See [`Settings::series_per_job_max`].
    pub series_per_job_max: Option<u32>,
    /// See [`Settings::series_per_node_max`].
    pub series_per_node_max: Option<u32>,
}

impl SettingsChange {
    /// The settings after this change, if they can be.
    pub(crate) fn apply(&self, to: Settings) -> Result<Settings, Refusal> {
        let changed = self.applied_to(to);
        let window = 0..=OUT_OF_ORDER_WINDOW_MILLIS_MAX;
        let can_be = window.contains(&changed.out_of_order_window_millis)
            && changed.retention_millis > 0
            && changed.retention_bytes >= 0;
        if can_be { Ok(changed) } else { Err(Refusal::InvalidSettings) }
    }

    /// The settings after this change.
    #[must_use]
    pub fn applied_to(&self, to: Settings) -> Settings {
        Settings {
            out_of_order_window_millis: self
                .out_of_order_window_millis
                .unwrap_or(to.out_of_order_window_millis),
            retention_millis: self.retention_millis.unwrap_or(to.retention_millis),
            retention_bytes: self.retention_bytes.unwrap_or(to.retention_bytes),
            series_per_target_max: self.series_per_target_max.unwrap_or(to.series_per_target_max),
            series_per_job_max: self.series_per_job_max.unwrap_or(to.series_per_job_max),
            series_per_node_max: self.series_per_node_max.unwrap_or(to.series_per_node_max),
        }
    }
}

/// A change after which these are the settings, whatever was before.
impl From<Settings> for SettingsChange {
    fn from(to: Settings) -> Self {
        Self {
            out_of_order_window_millis: Some(to.out_of_order_window_millis),
            retention_millis: Some(to.retention_millis),
            retention_bytes: Some(to.retention_bytes),
            series_per_target_max: Some(to.series_per_target_max),
            series_per_job_max: Some(to.series_per_job_max),
            series_per_node_max: Some(to.series_per_node_max),
        }
    }
}

wire_struct!(Settings {
    out_of_order_window_millis,
    retention_millis,
    retention_bytes,
    series_per_target_max,
    series_per_job_max,
    series_per_node_max,
});
wire_struct!(SettingsChange {
    out_of_order_window_millis,
    retention_millis,
    retention_bytes,
    series_per_target_max,
    series_per_job_max,
    series_per_node_max,
});
