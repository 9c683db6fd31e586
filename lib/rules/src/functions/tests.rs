use proptest::prelude::*;

use super::*;

struct Nothing;

impl Queries for Nothing {
    fn query(&self, _query: &str, _time: Timestamp) -> Result<Vec<VectorElement>, String> {
        Ok(Vec::new())
    }
}

fn call(name: &str, args: &[Value]) -> Result<String, String> {
    let external_labels = BTreeMap::new();
    let expansion = Expansion {
        time: Timestamp::from_millis(1_500),
        external_labels: &external_labels,
        external_url: "http://host:9090/path/?q",
        queries: &Nothing,
    };
    PrometheusFunctions::new(&expansion).call(name, args).map(|value| value.to_string())
}

fn of_number(name: &str, value: f64) -> String {
    call(name, &[Value::Float(value)]).expect("a number is taken")
}

fn of_text(name: &str, text: &str) -> String {
    call(name, &[Value::text(text)]).expect("a text is taken")
}

#[test]
fn numbers_are_humanized_as_by_prometheus() {
    let cases = [
        ("humanize", 0.0, "0"),
        ("humanize", 1.0, "1"),
        ("humanize", 1_234_567.0, "1.235M"),
        ("humanize", 0.12, "120m"),
        ("humanize", -0.002, "-2m"),
        ("humanize", 1e27, "1000Y"),
        ("humanize", f64::INFINITY, "+Inf"),
        ("humanize1024", 0.5, "0.5"),
        ("humanize1024", 1_048_576.0, "1Mi"),
        ("humanize1024", 12_345.0, "12.06ki"),
        ("humanizeDuration", 0.0, "0s"),
        ("humanizeDuration", 0.123, "123ms"),
        ("humanizeDuration", 60.2, "1m 0s"),
        ("humanizeDuration", 59.1234, "59.12s"),
        ("humanizeDuration", -3661.0, "-1h 1m 1s"),
        ("humanizeDuration", 899_999.0, "10d 9h 59m 59s"),
        ("humanizePercentage", 0.1234567, "12.35%"),
        ("humanizeTimestamp", 1_435_065_584.128, "2015-06-23 13:19:44.128 +0000 UTC"),
        ("humanizeTimestamp", f64::NAN, "NaN"),
        ("toTime", 0.0, "1970-01-01 00:00:00 +0000 UTC"),
    ];
    for (name, value, text) in cases {
        assert_eq!(of_number(name, value), text, "{name} {value}");
    }
    assert_eq!(of_text("humanize", "1e3"), "1k");
    assert!(call("humanize", &[Value::text("x")]).is_err());
    assert!(call("toTime", &[Value::Float(1e300)]).is_err());
}

#[test]
fn texts_are_changed_as_by_prometheus() {
    let cases = [
        ("title", "aa bb-CC don't", "Aa Bb-CC Don't"),
        ("toUpper", "aBé", "ABÉ"),
        ("toLower", "ABÉ", "abé"),
        ("stripPort", "localhost:9090", "localhost"),
        ("stripPort", "[::1]:9090", "::1"),
        ("stripPort", "localhost", "localhost"),
        ("stripPort", "::1", "::1"),
        ("stripDomain", "web.example.com:80", "web:80"),
        ("stripDomain", "10.0.0.1:80", "10.0.0.1:80"),
        ("stripDomain", "web.example.com", "web"),
        ("parseDuration", "1h30m", "5400"),
        ("toDuration", "3723.5", "1h2m3.5s"),
        ("toDuration", "0.25", "250ms"),
        ("graphLink", "up > 1", "/graph?g0.expr=up+%3E+1&g0.tab=0"),
        ("tableLink", "up", "/graph?g0.expr=up&g0.tab=1"),
        ("urlQueryEscape", "a b", "a+b"),
        ("safeHtml", "<b>", "<b>"),
    ];
    for (name, text, expected) in cases {
        assert_eq!(of_text(name, text), expected, "{name} {text}");
    }
}

#[test]
fn patterns_are_those_of_go() {
    let texts = |texts: [&str; 3]| texts.map(Value::text);
    let replaced = call("reReplaceAll", &texts(["(a)b", "x${1}x", "ab-ab"]));
    assert_eq!(replaced.as_deref(), Ok("xax-xax"));
    let matched = call("match", &[Value::text("b."), Value::text("abc")]);
    assert_eq!(matched.as_deref(), Ok("true"));
    let refused = call("match", &[Value::text("("), Value::text("abc")]).expect_err("no pattern");
    assert!(refused.starts_with("error parsing regexp: missing closing )"), "{refused}");
}

#[test]
fn surroundings_are_named() {
    assert_eq!(call("externalURL", &[]).as_deref(), Ok("http://host:9090/path/?q"));
    assert_eq!(call("pathPrefix", &[]).as_deref(), Ok("/path/"));
    assert_eq!(call("now", &[]).as_deref(), Ok("1.5"));
    let args = call("args", &[Value::Int(1), Value::text("b")]);
    assert_eq!(args.as_deref(), Ok("map[arg0:1 arg1:b]"));
    assert!(call("args", &[Value::Map(Arc::new(BTreeMap::new()))]).is_err());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let empty = call("first", &[Value::list([])]).expect_err("nothing is first");
    assert_eq!(empty, "first() called on vector with no elements");
    assert!(call("toUpper", &[Value::Float(1.0)]).is_err());
    assert!(call("label", &[Value::text("x"), Value::text("y")]).is_err());
    assert!(call("pathPrefix", &[Value::Int(1)]).is_err());
}

proptest! {
    #[test]
    fn any_number_is_humanized(bits: u64) {
        let value = f64::from_bits(bits);
        for name in NAMES.into_iter().filter(|name| name.starts_with("humanize")) {
            // Times have a range; all else has a text.
            let text = call(name, &[Value::Float(value)]);
            prop_assert!(text.is_ok() || name == "humanizeTimestamp", "{} {}", name, value);
        }
    }

    #[test]
    fn any_text_is_taken(text in "[a-z.:\\[\\]0-9 ']{0,20}") {
        for name in ["stripPort", "stripDomain", "title", "graphLink", "toUpper"] {
            prop_assert!(call(name, &[Value::text(text.as_str())]).is_ok());
        }
    }
}
