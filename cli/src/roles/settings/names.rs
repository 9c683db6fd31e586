//! Settings by their names. A name is that of a flag without its dashes, or of a key of
//! prometheus.yml, and a value is written as the flag takes it.

use std::time::Duration;

use narthex_cluster::{OUT_OF_ORDER_WINDOW_MILLIS_MAX, Settings, SettingsChange};
use narthex_model::duration;

/// A setting: what it is called, how it is read and shown.
pub struct Named {
    /// Its name.
    pub name: &'static str,
    set: fn(&mut SettingsChange, &str) -> Result<(), String>,
    /// Its value.
    pub show: fn(&Settings) -> String,
}

/// All settings, in the order they are shown.
pub static ALL: [Named; 6] = [
    Named {
        name: "storage.tsdb.retention.time",
        set: |change, text| {
            change.retention_millis = Some(millis(text, 1, i64::MAX)?);
            Ok(())
        },
        show: |settings| shown(settings.retention_millis),
    },
    Named {
        name: "storage.tsdb.retention.size",
        set: |change, text| {
            let bytes = narthex_node::config::parse_byte_size(text)?;
            change.retention_bytes = Some(i64::try_from(bytes).map_err(|e| e.to_string())?);
            Ok(())
        },
        show: |settings| format!("{}B", settings.retention_bytes),
    },
    Named {
        name: "storage.tsdb.out_of_order_time_window",
        set: |change, text| {
            let window = millis(text, 0, OUT_OF_ORDER_WINDOW_MILLIS_MAX)?;
            change.out_of_order_window_millis = Some(window);
            Ok(())
        },
        show: |settings| shown(settings.out_of_order_window_millis),
    },
    Named {
        name: "ingest.max-series-per-target",
        set: |change, text| {
            change.series_per_target_max = Some(number(text)?);
            Ok(())
        },
        show: |settings| settings.series_per_target_max.to_string(),
    },
    Named {
        name: "ingest.max-series-per-job",
        set: |change, text| {
            change.series_per_job_max = Some(number(text)?);
            Ok(())
        },
        show: |settings| settings.series_per_job_max.to_string(),
    },
    Named {
        name: "ingest.max-series-per-node",
        set: |change, text| {
            change.series_per_node_max = Some(number(text)?);
            Ok(())
        },
        show: |settings| settings.series_per_node_max.to_string(),
    },
];

/// Why a setting is not changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// Use one of the names.
    #[error("there is no setting {name:?}, only {}", all_names())]
    Unknown { name: String },
    /// Leave one of them out.
    #[error("{name} is given twice")]
    Repeated { name: &'static str },
    /// Correct it.
    #[error("{name}: {value:?}: {problem}")]
    Value { name: &'static str, value: String, problem: String },
}

/// The change that these names and values ask for.
pub fn change<'a>(
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<SettingsChange, InvalidSetting> {
    let (mut change, mut seen) = (SettingsChange::default(), Vec::new());
    for (name, value) in settings {
        let unknown = || InvalidSetting::Unknown { name: name.to_owned() };
        let named = ALL.iter().find(|it| it.name == name).ok_or_else(unknown)?;
        let name = named.name;
        if seen.contains(&name) {
            return Err(InvalidSetting::Repeated { name });
        }
        seen.push(name);
        (named.set)(&mut change, value.trim()).map_err(|problem| {
            let value = value.to_owned();
            InvalidSetting::Value { name, value, problem }
        })?;
    }
    Ok(change)
}

fn all_names() -> String {
    ALL.iter().map(|it| it.name).collect::<Vec<_>>().join(", ")
}

fn millis(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let time = duration::parse(text).map_err(|error| error.to_string())?;
    let millis = i64::try_from(time.as_millis()).map_err(|error| error.to_string())?;
    if (least..=most).contains(&millis) {
        return Ok(millis);
    }
    Err(format!("want {} to {}", shown(least), shown(most)))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("want a number up to {}, 0 for no limit", u32::MAX))
}

fn shown(millis: i64) -> String {
    duration::format(Duration::from_millis(millis.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_set() {
        let settings = Settings {
            out_of_order_window_millis: 90_000,
            retention_millis: 40 * 86_400_000,
            retention_bytes: 12_345,
            series_per_target_max: 1,
            series_per_job_max: 2,
            series_per_node_max: u32::MAX,
        };
        for settings in [settings, Settings::default()] {
            let shown: Vec<_> = ALL.iter().map(|it| (it.name, (it.show)(&settings))).collect();
            let change = change(shown.iter().map(|(name, value)| (*name, value.as_str())));
            assert_eq!(change, Ok(SettingsChange::from(settings)), "{shown:?}");
        }
        let shown = ALL.iter().map(|it| (it.show)(&settings));
        assert_eq!(shown.collect::<Vec<_>>(), ["40d", "12345B", "1m30s", "1", "2", "4294967295"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let text = |name, value| change([(name, value)]).map_err(|error| error.to_string());
        let window = "storage.tsdb.out_of_order_time_window";
        assert_eq!(text(window, "0s").unwrap().out_of_order_window_millis, Some(0));
        let refused = [
            (
                "retention",
                "1d",
                "there is no setting \"retention\", only storage.tsdb.retention.time, ",
            ),
            ("storage.tsdb.retention.time", "1", "storage.tsdb.retention.time: \"1\": "),
            ("storage.tsdb.retention.time", "0s", "want 1ms to "),
            ("storage.tsdb.retention.size", "many", "storage.tsdb.retention.size: \"many\": "),
            (window, "2y", "want 0s to 366d"),
            ("ingest.max-series-per-job", "-1", "want a number up to 4294967295, 0 for no limit"),
        ];
        for (name, value, want) in refused {
            let error = text(name, value).expect_err(value);
            assert!(error.contains(want), "{error}");
        }
        let twice = change([("ingest.max-series-per-job", "1"); 2]);
        assert_eq!(twice, Err(InvalidSetting::Repeated { name: "ingest.max-series-per-job" }));
    }
}
