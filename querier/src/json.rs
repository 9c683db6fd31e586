//! Writes JSON, made for columns of samples: numbers straight into a buffer, which is handed on
//! whenever it is full.
//!
//! Numbers follow Go: values are texts in `'f'` or exponent form, times are seconds with at most
//! three decimals, worked out from integer milliseconds.

use bytes::Bytes;
use narthex_model::{Labels, Timestamp, number};

/// A buffer is handed on at this size.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Takes full buffers.
pub trait Sink {
    /// Takes the next part; `false` when nobody wants more, after which parts may be dropped.
    fn take(&mut self, part: Bytes) -> bool;
}

/// Parts in memory.
impl Sink for Vec<Bytes> {
    fn take(&mut self, part: Bytes) -> bool {
        self.push(part);
        true
    }
}

/// A JSON text under construction. Commas are put in by [`Json::element`].
#[derive(Debug)]
pub struct Json<S> {
    buffer: Vec<u8>,
    sink: S,
    wanted: bool,
    /// The last byte of what the sink has, on which the next comma may depend.
    last_handed_on: Option<u8>,
}

impl<S: Sink> Json<S> {
    /// An empty text.
    pub fn new(sink: S) -> Self {
        Self { buffer: Vec::with_capacity(4096), sink, wanted: true, last_handed_on: None }
    }

    /// Whether somebody still wants the text.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Writes text that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.buffer.extend_from_slice(json.as_bytes());
        self
    }

    /// A comma, unless it would be the first thing in its array or object. Hands a full buffer on.
    pub fn element(&mut self) -> &mut Self {
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush();
        }
        if !matches!(self.last(), None | Some(b'[' | b'{' | b':')) {
            self.buffer.push(b',');
        }
        self
    }

    /// A member's name with its colon, and the comma in front of it.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.element().text(name).raw(":")
    }

    /// A text in quotes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.buffer.push(b'"');
        let mut plain_from = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape: Option<&[u8]> = match byte {
                b'"' => Some(b"\\\""),
                b'\\' => Some(b"\\\\"),
                b'\n' => Some(b"\\n"),
                b'\r' => Some(b"\\r"),
                b'\t' => Some(b"\\t"),
                0..0x20 => None,
                _ => continue,
            };
            self.buffer.extend_from_slice(&text.as_bytes()[plain_from..at]);
            match escape {
                Some(escape) => self.buffer.extend_from_slice(escape),
                None => self.buffer.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            }
            plain_from = at + 1;
        }
        self.buffer.extend_from_slice(&text.as_bytes()[plain_from..]);
        self.buffer.push(b'"');
        self
    }

    /// A whole number.
    pub fn integer(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// A number as JSON has it; what it lacks is null.
    pub fn float(&mut self, value: f64) -> &mut Self {
        if value.is_finite() {
            number::push_json(&mut self.buffer, value);
            return self;
        }
        self.raw("null")
    }

    /// A sample's value: a number as a text.
    pub fn value(&mut self, value: f64) -> &mut Self {
        self.buffer.push(b'"');
        number::push_json(&mut self.buffer, value);
        self.buffer.push(b'"');
        self
    }

    /// Seconds, with milliseconds only where there are any.
    pub fn time(&mut self, time: Timestamp) -> &mut Self {
        let millis = time.millis();
        if millis < 0 {
            self.buffer.push(b'-');
        }
        let magnitude = millis.unsigned_abs();
        self.integer(magnitude / 1000);
        let rest = magnitude % 1000;
        if rest != 0 {
            let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
            self.buffer.push(b'.');
            self.buffer.extend_from_slice(&digits);
        }
        self
    }

    /// `[time,"value"]`.
    pub fn point(&mut self, time: Timestamp, value: f64) -> &mut Self {
        self.element().raw("[").time(time).raw(",").value(value).raw("]")
    }

    /// Labels as an object.
    pub fn labels(&mut self, labels: &Labels) -> &mut Self {
        self.raw("{");
        for (name, value) in labels.iter() {
            self.name(name).text(value);
        }
        self.raw("}")
    }

    /// An array of texts.
    pub fn texts(&mut self, texts: impl IntoIterator<Item = impl AsRef<str>>) -> &mut Self {
        self.raw("[");
        for text in texts {
            self.element().text(text.as_ref());
        }
        self.raw("]")
    }

    /// Hands the rest on and gives the sink back.
    pub fn finish(mut self) -> S {
        self.flush();
        self.sink
    }

    fn flush(&mut self) {
        self.last_handed_on = self.last();
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES + 1024));
        if self.wanted && !part.is_empty() {
            self.wanted = self.sink.take(part.into());
        }
    }

    fn last(&self) -> Option<u8> {
        self.buffer.last().copied().or(self.last_handed_on)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl Fn(&mut Json<Vec<Bytes>>) -> &mut Json<Vec<Bytes>>) -> String {
        let mut json = Json::new(Vec::new());
        write(&mut json);
        String::from_utf8(json.finish().concat()).expect("UTF-8")
    }

    fn time(millis: i64) -> String {
        written(|json| json.time(Timestamp::from_millis(millis)))
    }

    #[test]
    fn times_are_seconds_with_three_decimals_or_none() {
        assert_eq!(time(1_435_781_451_781), "1435781451.781");
        assert_eq!(time(1_435_781_451_000), "1435781451");
        assert_eq!(
            (time(500), time(50), time(5)),
            ("0.500".into(), "0.050".into(), "0.005".into())
        );
        assert_eq!(
            (time(-1500), time(i64::MIN)),
            ("-1.500".into(), "-9223372036854775.808".into())
        );
    }

    #[test]
    fn values_are_texts_in_gos_form() {
        let value = |value: f64| written(|json| json.value(value));
        for (number, text) in [
            (100.0, "100"),
            (0.1, "0.1"),
            (1e21, "1e+21"),
            (1e-7, "1e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (-0.0, "-0"),
        ] {
            assert_eq!(value(number), format!("\"{text}\""));
        }
    }

    #[test]
    fn commas_survive_full_buffers() {
        let text = written(|json| {
            json.raw("[");
            for i in 0..50_000i64 {
                json.point(Timestamp::from_millis(i), 0.5);
            }
            json.raw("]")
        });
        let read: Vec<(f64, String)> = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read.len(), 50_000);
        assert_eq!(read[49_999], (49.999, "0.5".to_owned()));
    }

    #[test]
    fn nobody_listening_is_noticed() {
        struct Deaf;
        impl Sink for Deaf {
            fn take(&mut self, _: Bytes) -> bool {
                false
            }
        }
        let mut json = Json::new(Deaf);
        json.text(&"x".repeat(CHUNK_BYTES)).element();
        assert!(!json.is_wanted());
    }

    proptest! {
        #[test]
        fn any_text_reads_back(texts in proptest::collection::vec(any::<String>(), 0..5)) {
            let text = written(|json| json.texts(&texts));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&text).expect("JSON"), texts);
        }

        #[test]
        fn any_labels_read_back(pairs in proptest::collection::btree_map("\\PC{1,9}", "\\PC{1,9}", 0..5)) {
            let labels = Labels::from_pairs(&pairs).expect("valid");
            let text = written(|json| json.labels(&labels));
            let read: std::collections::BTreeMap<String, String> =
                serde_json::from_str(&text).expect("JSON");
            prop_assert_eq!(read, pairs);
        }
    }
}
