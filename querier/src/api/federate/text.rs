//! Pages as text: Prometheus's own, and OpenMetrics.
//!
//! Native histograms have no text form: those with custom buckets become classic ones, the others
//! are left out.

use std::fmt::Write as _;

use narthex_model::{FloatHistogram, is_legacy_label_name, is_legacy_metric_name, number, quote};

use super::{Family, Kind, Row, cumulative, format::Escaping};

/// The families of a page.
pub fn write<'a>(
    families: impl Iterator<Item = Family<'a>>,
    escaping: Escaping,
    is_open_metrics: bool,
) -> String {
    let mut page = Page { text: String::new(), escaping, is_open_metrics };
    for family in families {
        page.add(&family);
    }
    if is_open_metrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    escaping: Escaping,
    is_open_metrics: bool,
}

impl Page {
    fn add(&mut self, family: &Family<'_>) {
        let is_written =
            |row: &&Row<'_>| row.newest.histogram.is_none_or(FloatHistogram::uses_custom_buckets);
        let mut rows = family.rows.iter().filter(is_written).peekable();
        if rows.peek().is_none() {
            return;
        }
        let kind = match (family.kind, self.is_open_metrics) {
            (Kind::Untyped, false) => "untyped",
            (Kind::Untyped, true) => "unknown",
            (Kind::GaugeHistogram, true) => "gaugehistogram",
            (Kind::Histogram, _) | (Kind::GaugeHistogram, false) => "histogram",
        };
        let name = self.escaping.metric(family.name);
        let shown = in_quotes(&name, is_legacy_metric_name);
        self.put(format_args!("# TYPE {shown} {kind}\n"));
        for row in rows {
            match row.newest.histogram {
                None => {
                    self.line(&name, "", row, None);
                    self.end(row.newest.value, row.newest.time);
                }
                Some(histogram) => self.classic((&name, kind), row, histogram),
            }
        }
    }

    fn classic(&mut self, (name, kind): (&str, &str), row: &Row<'_>, it: &FloatHistogram) {
        let time = row.newest.time;
        for (bound, count) in cumulative(it).chain([(f64::INFINITY, it.count)]) {
            self.line(name, "_bucket", row, Some(bound));
            self.end(count, time);
        }
        let suffixes = match kind {
            "gaugehistogram" => ["_gsum", "_gcount"],
            _ => ["_sum", "_count"],
        };
        for (suffix, value) in suffixes.into_iter().zip([it.sum, it.count]) {
            self.line(name, suffix, row, None);
            self.end(value, time);
        }
    }

    /// Name and labels of one line.
    fn line(&mut self, name: &str, suffix: &str, row: &Row<'_>, bound: Option<f64>) {
        let mut separator = "{";
        if is_legacy_metric_name(name) {
            self.put(format_args!("{name}{suffix}"));
        } else {
            self.put(format_args!("{{{}", quote(&format!("{name}{suffix}"))));
            separator = ",";
        }
        for (name, value) in &row.labels {
            let shown = in_quotes(&self.escaping.label(name), is_legacy_label_name);
            self.put(format_args!("{separator}{shown}=\""));
            self.escaped(value);
            self.text.push('"');
            separator = ",";
        }
        if let Some(bound) = bound {
            let bound = self.number(bound);
            self.put(format_args!("{separator}le=\"{bound}\""));
            separator = ",";
        }
        self.text.push_str(if separator == "," { "} " } else { " " });
    }

    fn end(&mut self, value: f64, time: i64) {
        let value = self.number(value);
        match self.is_open_metrics {
            true => {
                let seconds = self.number(time as f64 / 1000.0);
                self.put(format_args!("{value} {seconds}\n"));
            }
            false => self.put(format_args!("{value} {time}\n")),
        }
    }

    /// OpenMetrics shows that a number is a float.
    fn number(&self, value: f64) -> String {
        let mut text = number::format_exposition(value);
        if self.is_open_metrics && value.is_finite() && !text.contains(['.', 'e']) {
            text.push_str(".0");
        }
        text
    }

    /// A label's value as the text format has it.
    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                c => self.text.push(c),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string takes any text");
    }
}

fn in_quotes(name: &str, is_legacy: fn(&str) -> bool) -> String {
    if is_legacy(name) { name.to_owned() } else { quote(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::{super::Newest, *};

    #[test]
    fn open_metrics_has_floats_seconds_and_an_end() {
        let row = |value| {
            let newest = Newest { time: 1_435_781_451_781, value, histogram: None };
            Row { labels: vec![("a", "b")], newest }
        };
        let family = Family { name: "x.y", kind: Kind::Untyped, rows: vec![row(1.0), row(0.5)] };
        let page = write([family].into_iter(), Escaping::AllowUtf8, true);
        let expected = "# TYPE \"x.y\" unknown\n\
                        {\"x.y\",a=\"b\"} 1.0 1.435781451781e+09\n\
                        {\"x.y\",a=\"b\"} 0.5 1.435781451781e+09\n\
                        # EOF\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_has_no_text_form_is_left_out_with_its_head() {
        let histogram = FloatHistogram::default();
        let newest = Newest { time: 1, value: 0.0, histogram: Some(&histogram) };
        let rows = vec![Row { labels: Vec::new(), newest }];
        let family = Family { name: "h", kind: Kind::Histogram, rows };
        assert_eq!(write([family].into_iter(), Escaping::Underscores, false), "");
    }
}
