//! What a scraper takes: the format of a page, and what becomes of names in it.

use std::borrow::Cow;

use http::{HeaderMap, header};
use narthex_model::{is_legacy_label_name, is_legacy_metric_name};

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Prometheus's text, in its version with or without names in quotes.
    Text(&'static str),
    /// OpenMetrics.
    OpenMetrics(&'static str),
    /// Messages of `io.prometheus.client`, each with its length in front.
    Protobuf,
}

/// What becomes of names that the text format did not have at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// They are written in quotes.
    AllowUtf8,
    /// Their other characters become underscores.
    Underscores,
    /// Dots become `_dot_`, underscores two, and so does everything else.
    Dots,
    /// Their other characters become their numbers, behind `U__`.
    Values,
}

/// A page's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// How it is written.
    pub encoding: Encoding,
    /// What becomes of names.
    pub escaping: Escaping,
}

/// One of the types that a scraper takes.
struct Accepted<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f64,
}

impl Format {
    /// The best one that a scraper takes; text where it takes none.
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let mut accepted: Vec<_> =
            accepts.flat_map(|accept| accept.split(',')).map(Accepted::read).collect();
        accepted.sort_by(|left, right| right.quality.total_cmp(&left.quality));
        let mut escaping = Escaping::Underscores;
        for wanted in accepted {
            escaping = wanted.escaping().unwrap_or(escaping);
            if let Some(encoding) = wanted.encoding() {
                return Self { encoding, escaping };
            }
        }
        Self { encoding: Encoding::Text("0.0.4"), escaping }
    }

    /// The page's media type.
    pub fn content_type(self) -> String {
        let escaping = self.escaping.name();
        match self.encoding {
            Encoding::Text(version) => {
                format!("text/plain; version={version}; charset=utf-8; escaping={escaping}")
            }
            Encoding::OpenMetrics(version) => format!(
                "application/openmetrics-text; version={version}; charset=utf-8; \
                 escaping={escaping}"
            ),
            Encoding::Protobuf => format!(
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited; escaping={escaping}"
            ),
        }
    }
}

impl<'a> Accepted<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or("");
        let pair = |part: &'a str| part.split_once('=').map(|(name, it)| (name.trim(), it.trim()));
        let parameters: Vec<_> = parts.filter_map(pair).collect();
        let quality = parameters.iter().find(|(name, _)| *name == "q");
        let quality = quality.map_or(1.0, |(_, text)| text.parse().unwrap_or(1.0));
        Self { media_type, parameters, quality }
    }

    fn parameter(&self, name: &str) -> &'a str {
        self.parameters.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    fn encoding(&self) -> Option<Encoding> {
        match (self.media_type, self.parameter("version")) {
            ("application/vnd.google.protobuf", _) => {
                let is_known = self.parameter("proto") == "io.prometheus.client.MetricFamily"
                    && self.parameter("encoding") == "delimited";
                is_known.then_some(Encoding::Protobuf)
            }
            ("text/plain", "1.0.0") => Some(Encoding::Text("1.0.0")),
            ("text/plain", "" | "0.0.4") => Some(Encoding::Text("0.0.4")),
            ("application/openmetrics-text", "1.0.0") => Some(Encoding::OpenMetrics("1.0.0")),
            ("application/openmetrics-text", "" | "0.0.1") => Some(Encoding::OpenMetrics("0.0.1")),
            _ => None,
        }
    }

    fn escaping(&self) -> Option<Escaping> {
        let name = self.parameter("escaping");
        Escaping::ALL.into_iter().find(|escaping| escaping.name() == name)
    }
}

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    const fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// A metric's name as it is written, perhaps in quotes.
    pub fn metric(self, name: &str) -> Cow<'_, str> {
        self.escape(name, is_legacy_metric_name)
    }

    /// A label's name as it is written, perhaps in quotes.
    pub fn label(self, name: &str) -> Cow<'_, str> {
        self.escape(name, is_legacy_label_name)
    }

    fn escape(self, name: &str, is_legacy: fn(&str) -> bool) -> Cow<'_, str> {
        if self == Self::AllowUtf8 || (is_legacy(name) && self != Self::Dots) {
            return Cow::Borrowed(name);
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.chars().enumerate() {
            let is_plain = c.is_ascii_alphabetic() || c == ':' || (c.is_ascii_digit() && at > 0);
            match (self, c) {
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                (_, c) if is_plain || c == '_' => escaped.push(c),
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                (Self::Dots, _) => escaped.push_str("__"),
                (Self::Values, c) => escaped.push_str(&format!("_{:x}_", u32::from(c))),
                _ => escaped.push('_'),
            }
        }
        Cow::Owned(escaped)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accepted(accept: &'static str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        Format::accepted(&headers)
    }

    #[test]
    fn the_best_type_is_taken() {
        let text = Encoding::Text("0.0.4");
        let plain = Format { encoding: text, escaping: Escaping::Underscores };
        assert_eq!(Format::accepted(&HeaderMap::new()), plain);
        for accept in ["*/*", "text/html", "application/vnd.google.protobuf;encoding=text"] {
            assert_eq!(accepted(accept), plain, "{accept}");
        }
        let both = "text/plain;version=0.0.4;q=0.3,\
                    application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                    application/openmetrics-text;version=0.0.1;q=0.5,*/*;q=0.2";
        let open = Encoding::OpenMetrics("1.0.0");
        let expected = Format { encoding: open, escaping: Escaping::AllowUtf8 };
        assert_eq!(accepted(both), expected);
        let first = "application/vnd.google.protobuf;\
                     proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                     text/plain;version=1.0.0;escaping=dots;q=0.6";
        assert_eq!(accepted(first).encoding, Encoding::Protobuf);
        let quoted = accepted("text/plain;version=1.0.0;escaping=values");
        assert_eq!(
            quoted.content_type(),
            "text/plain; version=1.0.0; charset=utf-8; escaping=values"
        );
    }

    #[test]
    fn names_are_escaped_as_asked() {
        let name = "a_b.c:1é";
        assert_eq!(Escaping::AllowUtf8.metric(name), name);
        assert_eq!(Escaping::Underscores.metric(name), "a_b_c:1_");
        assert_eq!(Escaping::Dots.metric(name), "a__b_dot_c:1__");
        assert_eq!(Escaping::Values.metric(name), "U__a__b_2e_c:1_e9_");
        assert_eq!(Escaping::Values.metric("up_x"), "up_x");
        assert_eq!(Escaping::Dots.label("up_x"), "up__x");
        assert_eq!(Escaping::Underscores.label("1.a"), "__a");
    }
}
