//! Names of metrics and labels as Prometheus wants them: its translation strategy
//! `UnderscoreEscapingWithSuffixes`, its default.

use std::borrow::Cow;

/// What decides about the suffixes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only rises.
    Counter,
    /// A gauge.
    Gauge,
    /// Anything else.
    Other,
}

/// Prometheus's words for units.
const UNITS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

/// The same behind a slash.
const UNITS_PER: &[(&str, &str)] = &[
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric; `None` if nothing of it is left.
pub fn metric_name(name: &str, unit: &str, kind: Kind) -> Option<String> {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == ':';
    let mut tokens: Vec<Cow<'_, str>> =
        name.split(|c| !is_kept(c)).filter(|token| !token.is_empty()).map(Cow::Borrowed).collect();
    let (main, per) = unit_suffixes(unit);
    add_unit(&mut tokens, main, per);
    if kind == Kind::Counter {
        move_to_end(&mut tokens, "total");
    }
    if kind == Kind::Gauge && unit == "1" {
        move_to_end(&mut tokens, "ratio");
    }
    let mut joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        joined.insert(0, '_');
    }
    (!joined.is_empty()).then_some(joined)
}

fn move_to_end<'a>(tokens: &mut Vec<Cow<'a, str>>, word: &'a str) {
    tokens.retain(|token| token != word);
    tokens.push(Cow::Borrowed(word));
}

fn add_unit(tokens: &mut Vec<Cow<'_, str>>, main: String, per: String) {
    let mut main = main.as_str();
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if tokens.iter().any(|token| token == main) {
        main = "";
    }
    if tokens.iter().any(|token| token == per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    for suffix in [main, per] {
        if !suffix.is_empty() {
            tokens.push(Cow::Owned(suffix.to_owned()));
        }
    }
}

/// What a unit and what it is measured per add to a name.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |unit: &str, words: &[(&'static str, &'static str)]| {
        let unit = unit.trim();
        // Braces hold a remark, not a unit.
        if unit.contains(['{', '}']) {
            return String::new();
        }
        let known = words.iter().find(|(name, _)| *name == unit);
        known.map_or(unit, |(_, word)| word).to_owned()
    };
    let per = word(per, UNITS_PER);
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    (clean_unit(&word(main, UNITS)), clean_unit(&per))
}

/// Makes every run of other characters one underscore, and none at the front.
fn clean_unit(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for c in unit.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == ':' => clean.push(c),
            _ if clean.ends_with('_') => {}
            _ => clean.push('_'),
        }
    }
    match clean.strip_prefix('_') {
        Some(rest) => rest.to_owned(),
        None => clean,
    }
}

/// The name of a label; `None` if it is empty or nothing but underscores.
pub fn label_name(name: &str) -> Option<Cow<'_, str>> {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let clean: Cow<'_, str> = match name.chars().all(is_kept) {
        true => Cow::Borrowed(name),
        false => name.chars().map(|c| if is_kept(c) { c } else { '_' }).collect(),
    };
    if clean.chars().all(|c| c == '_') {
        return None;
    }
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(Cow::Owned(format!("key_{clean}")));
    }
    if clean.starts_with('_') && !clean.starts_with("__") {
        return Some(Cow::Owned(format!("key{clean}")));
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that Prometheus's translator gives, from its own tests.
    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        let cases = [
            ("http.server.duration", "ms", Kind::Other, "http_server_duration_milliseconds"),
            ("metric.1", "", Kind::Gauge, "metric_1"),
            (
                "unsupported.metric.redundant",
                "__test $/°C",
                Kind::Gauge,
                "unsupported_metric_redundant_test_per_C",
            ),
            ("system.io", "By", Kind::Counter, "system_io_bytes_total"),
            (
                "network.transmitted.bytes.total",
                "By",
                Kind::Counter,
                "network_transmitted_bytes_total",
            ),
            (
                "active.directory.ds.replication.network.io",
                "By",
                Kind::Counter,
                "active_directory_ds_replication_network_io_bytes_total",
            ),
            ("system.memory.utilization", "1", Kind::Gauge, "system_memory_utilization_ratio"),
            ("system.network.dropped", "{packets}", Kind::Counter, "system_network_dropped_total"),
            (
                "system.disk.weighted_io_time",
                "s",
                Kind::Counter,
                "system_disk_weighted_io_time_seconds_total",
            ),
            ("speed", "m/s", Kind::Gauge, "speed_meters_per_second"),
            ("broken.metric.speed", "km/h", Kind::Gauge, "broken_metric_speed_km_per_hour"),
            (
                "astro.light.speed_limit",
                "m / s",
                Kind::Gauge,
                "astro_light_speed_limit_meters_per_second",
            ),
            ("_my_metric_", "", Kind::Gauge, "my_metric"),
            ("6d", "", Kind::Gauge, "_6d"),
            ("hw.fan.speed_limit", "{rotation}/min", Kind::Gauge, "hw_fan_speed_limit_per_min"),
            ("nsxt.node.cpu.utilization", "%", Kind::Gauge, "nsxt_node_cpu_utilization_percent"),
            ("total", "", Kind::Counter, "total"),
            ("héllo", "", Kind::Gauge, "h_llo"),
        ];
        for (name, unit, kind, want) in cases {
            assert_eq!(metric_name(name, unit, kind).as_deref(), Some(want), "{name} {unit}");
        }
        assert_eq!(metric_name("", "", Kind::Gauge), None);
        assert_eq!(metric_name("€€", "", Kind::Other), None);
    }

    #[test]
    fn labels_are_named_as_prometheus_names_them() {
        let cases = [
            ("http.method", "http_method"),
            ("label:with:colons", "label_with_colons"),
            ("LabelWithCapitalLetters", "LabelWithCapitalLetters"),
            ("0label", "key_0label"),
            ("_private", "key_private"),
            ("__name", "__name"),
            ("a  b", "a__b"),
            ("lábel", "l_bel"),
        ];
        for (name, want) in cases {
            assert_eq!(label_name(name).as_deref(), Some(want), "{name}");
        }
        assert_eq!(label_name(""), None);
        assert_eq!(label_name("__"), None);
        assert_eq!(label_name("..."), None);
    }
}
