use std::{collections::BTreeMap, sync::Arc};

use narthex_model::Timestamp;
use proptest::prelude::*;

use super::*;

/// `upper TEXT`, `fail`, `time` and `pair`.
struct Known;

impl Functions for Known {
    fn has(&self, name: &str) -> bool {
        matches!(name, "upper" | "fail" | "time" | "pair")
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        match (name, args) {
            ("upper", [Value::Text(text)]) => Ok(Value::text(text.to_uppercase())),
            ("time", []) => Ok(Value::Time(Timestamp::from_millis(1_000))),
            ("pair", []) => {
                let fields = vec![("Labels", labels()), ("Value", Value::Float(1.5))];
                Ok(Value::Record(Arc::new(Record { type_name: "*template.sample", fields })))
            }
            _ => Err("no luck".to_owned()),
        }
    }
}

fn labels() -> Value {
    [("instance", "a:1"), ("job", "api")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

fn data() -> Value {
    let entries = [
        ("Labels", labels()),
        ("Value", Value::Float(0.25)),
        ("List", Value::list([1.0, 2.0, 3.0].map(Value::Float))),
        ("Empty", Value::list([])),
    ];
    let entries = entries.map(|(name, value)| (name.to_owned(), value));
    Value::Map(Arc::new(BTreeMap::from(entries)))
}

fn rendered(source: &str) -> String {
    let template = Template::parse("t", source, &Known).unwrap_or_else(|error| panic!("{error}"));
    template.execute(data(), &Known).unwrap_or_else(|error| panic!("{error}"))
}

fn parse_error(source: &str) -> String {
    Template::parse("t", source, &Known).expect_err(source).to_string()
}

fn execute_error(source: &str) -> String {
    let template = Template::parse("t", source, &Known).unwrap_or_else(|error| panic!("{error}"));
    template.execute(data(), &Known).expect_err(source).to_string()
}

#[test]
fn values_are_printed() {
    let texts = [
        ("plain } text", "plain } text"),
        ("{{ .Labels.job }} on {{.Labels.instance}}", "api on a:1"),
        ("{{ .Labels.absent }}|{{ .absent }}", "|<no value>"),
        ("{{ .Value }} {{ 1000000.0 }} {{ 0x10 }} {{ -3 }} {{ 'a' }}", "0.25 1e+06 16 -3 97"),
        (r#"{{ "a\tbé\u0041" }}{{ `r\aw` }}"#, "a\tbéAr\\aw"),
        ("{{ .Labels }} {{ .List }}", "map[instance:a:1 job:api] [1 2 3]"),
        ("{{ true }} {{ not true }}", "true false"),
        ("{{ (pair).Labels.job }} {{ pair.Value }}", "api 1.5"),
        ("{{ time.Unix }} {{ (time).Format \"15:04:05\" }}", "1 00:00:01"),
    ];
    for (source, text) in texts {
        assert_eq!(rendered(source), text, "{source}");
    }
}

#[test]
fn blanks_go_where_the_action_says_so() {
    assert_eq!(rendered("a  {{- 1 -}}  b"), "a1b");
    assert_eq!(rendered("a {{/* nothing */}} b"), "a  b");
    assert_eq!(rendered("a {{- /* nothing */ -}} b"), "ab");
    assert_eq!(rendered("{{\n.Value\n}}"), "0.25");
    // Without a blank the sign belongs to the number.
    assert_eq!(rendered("a {{-1}}"), "a -1");
}

#[test]
fn pipelines_hand_values_on() {
    let texts = [
        (r#"{{ "x" | upper | printf "%s-%s" "y" }}"#, "y-X"),
        ("{{ .Value | printf \"%.1f\" }}", "0.2"),
        ("{{ len (printf \"%d\" 100) }}", "3"),
        ("{{ $x := 1 }}{{ $x = 2 }}{{ $x }}{{ $.Labels.job }}", "2api"),
        ("{{ index .Labels \"job\" }}{{ index .List 1 }}", "api2"),
        ("{{ slice \"abcd\" 1 3 }}", "bc"),
        ("{{ print 1 2 \"x\" 3 }}|{{ println \"a\" 1 }}", "1 2x3|a 1\n"),
        ("{{ html \"<a b='c'>\" }}", "&lt;a b=&#39;c&#39;&gt;"),
        ("{{ urlquery \"a b&c/ü\" }}", "a+b%26c%2F%C3%BC"),
        ("{{ and 1 0 fail }}{{ or 0 \"x\" fail }}{{ or 0 \"\" }}", "0x"),
    ];
    for (source, text) in texts {
        assert_eq!(rendered(source), text, "{source}");
    }
}

#[test]
fn blocks_branch_and_loop() {
    let texts = [
        ("{{ if gt .Value 0.2 }}high{{ else }}low{{ end }}", "high"),
        ("{{ if eq .Labels.job \"a\" \"api\" }}1{{ end }}", "1"),
        ("{{ if .Labels.x }}1{{ else if .Empty }}2{{ else }}3{{ end }}", "3"),
        ("{{ with .Labels }}{{ .job }}{{ end }}{{ with .Empty }}x{{ else }}y{{ end }}", "apiy"),
        ("{{ range .List }}{{ . }},{{ end }}", "1,2,3,"),
        ("{{ range $i, $e := .List }}{{ $i }}={{ $e }} {{ end }}", "0=1 1=2 2=3 "),
        (
            "{{ range $name, $value := .Labels }}{{ $name }}={{ $value }} {{ end }}",
            "instance=a:1 job=api ",
        ),
        ("{{ range .Empty }}x{{ else }}none{{ end }}", "none"),
        ("{{ range .List }}{{ if eq . 2.0 }}{{ break }}{{ end }}{{ . }}{{ end }}", "1"),
        ("{{ range .List }}{{ if eq . 2.0 }}{{ continue }}{{ end }}{{ . }}{{ end }}", "13"),
        ("{{ $n := 0 }}{{ range .List }}{{ $n = . }}{{ end }}{{ $n }}", "3"),
        ("{{ define \"x\" }}<{{ .job }}>{{ end }}{{ template \"x\" .Labels }}", "<api>"),
        ("{{ block \"x\" .Value }}[{{ . }}]{{ end }}", "[0.25]"),
    ];
    for (source, text) in texts {
        assert_eq!(rendered(source), text, "{source}");
    }
}

#[test]
fn what_cannot_be_parsed_is_named_with_its_line() {
    let errors = [
        ("a\n{{ foo }}", "template: t:2: function \"foo\" not defined"),
        ("{{ $x }}", "template: t:1: undefined variable \"$x\""),
        ("{{ if 1 }}{{ $y := 1 }}{{ end }}{{ $y }}", "template: t:1: undefined variable \"$y\""),
        ("{{ if 1 }}x", "template: t:1: unexpected EOF"),
        ("{{ end }}", "template: t:1: unexpected {{end}}"),
        ("{{ 1 | 2 }}", "template: t:1: non executable command in pipeline stage 2"),
        ("{{ }}", "template: t:1: missing value for command"),
        ("{{ .Labels.a-b }}", "template: t:1: bad character U+002D '-'"),
        ("{{ 1", "template: t:1: unclosed action"),
        ("{{ \"a }}", "template: t:1: unterminated quoted string"),
        ("{{ 1a }}", "template: t:1: bad number syntax: \"1a\""),
        ("{{ break }}", "template: t:1: {{break}} outside {{range}}"),
        ("{{ ! }}", "template: t:1: unrecognized character in action: U+0021 '!'"),
        ("{{ ) }}", "template: t:1: unexpected \")\" in command"),
        ("{{ \"a\"\"b\" }}", "template: t:1: unexpected \"\\\"b\\\"\" in operand"),
    ];
    for (source, error) in errors {
        assert_eq!(parse_error(source), error, "{source}");
    }
    assert!(parse_error(&"{{ if 1 }}".repeat(200)).contains("nested deeper"));
    assert!(parse_error(&format!("{{{{ {} }}}}", "(".repeat(200))).contains("nested deeper"));
}

#[test]
fn what_cannot_be_executed_is_named_with_its_place() {
    let errors = [
        (
            "x\n {{ fail }}",
            "template: t:2:4: executing \"t\" at <fail>: error calling fail: no luck",
        ),
        ("{{ .Value.x }}", "can't evaluate field x in type float64"),
        ("{{ pair.x }}", "can't evaluate field x in type *template.sample"),
        ("{{ .absent.x }}", "nil pointer evaluating interface {}.x"),
        ("{{ gt .Value 1 }}", "error calling gt: incompatible types for comparison"),
        ("{{ index .List 9 }}", "error calling index: index out of range: 9"),
        ("{{ range .Value }}{{ end }}", "range can't iterate over 0.25"),
        ("{{ .Value 1 }}", "Value is not a method"),
        ("{{ template \"x\" }}", "template \"x\" not defined"),
    ];
    for (source, error) in errors {
        let found = execute_error(source);
        assert!(found.contains(error), "{source}: {found}");
    }
}

#[test]
fn execution_is_bounded() {
    let recursion = "{{ define \"x\" }}{{ template \"x\" }}{{ end }}{{ template \"x\" }}";
    assert!(execute_error(recursion).contains("exceeded maximum template depth"));
    assert!(execute_error("{{ range 2000000 }}{{ end }}").contains("steps"));
    let nested = "{{ range 1000 }}{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}{{ end }}";
    assert!(execute_error(nested).contains("steps"));
    let doubled = "{{ $x := \"x\" }}{{ range 64 }}{{ $x = print $x $x }}{{ end }}";
    assert!(execute_error(doubled).contains("longer than"));
    let wide = format::printf(&"%9999d".repeat(200), &vec![Value::Int(1); 200]);
    assert!(wide.is_err());
    let long = "{{ range 1000 }}{{ printf \"%2000d\" 1 }}{{ end }}";
    assert!(execute_error(long).contains("longer than"));
}

#[test]
fn verbs_are_those_of_go() {
    let float = Value::Float;
    let cases = [
        ("%v %v", vec![float(1e21), Value::Int(7)], "1e+21 7"),
        (
            "%.2f|%8.3f|%-8.1f|%08.2f",
            vec![float(1.005), float(3.14209), float(2.0), float(-1.5)],
            "1.00|   3.142|2.0     |-0001.50",
        ),
        (
            "%.3g %.4g %.4g %g",
            vec![float(1234.5), float(0.00001234), float(1500.0), float(0.1)],
            "1.23e+03 1.234e-05 1500 0.1",
        ),
        ("%e %.1e", vec![float(12345.0), float(0.0)], "1.234500e+04 0.0e+00"),
        (
            "%5d|%-5d|%05d|%+d",
            vec![Value::Int(42), Value::Int(42), Value::Int(-42), Value::Int(1)],
            "   42|42   |-0042|+1",
        ),
        (
            "%x %X %q %c %t",
            vec![
                Value::Int(255),
                Value::text("hi"),
                Value::text("a\"b"),
                Value::Int(65),
                Value::Bool(true),
            ],
            "ff 6869 \"a\\\"b\" A true",
        ),
        (
            "%10s|%-4s|%.2s|%%",
            vec![Value::text("né"), Value::text("ab"), Value::text("héllo")],
            "        né|ab  |hé|%",
        ),
        ("%d %s", vec![float(1.5)], "%!d(float64=1.5) %!s(MISSING)"),
        ("a", vec![Value::Int(1), Value::text("x")], "a%!(EXTRA int=1, string=x)"),
        ("%f %5.1f", vec![float(f64::INFINITY), float(f64::NAN)], "+Inf   NaN"),
    ];
    for (layout, args, text) in cases {
        assert_eq!(format::printf(layout, &args).as_deref(), Ok(text), "{layout}");
    }
}

/// Pieces of templates that often fit together.
fn arbitrary_source() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z {}%\n]{0,6}",
        proptest::sample::select(vec![
            "{{",
            "}}",
            "{{-",
            "-}}",
            "{{ if ",
            "{{ range ",
            "{{ with ",
            "{{ end }}",
            "{{ else }}",
            "{{ define \"x\" }}",
            "{{ template \"x\" . }}",
            ".Labels",
            ".job",
            ".Value",
            ".List",
            "$x",
            ":=",
            "=",
            "|",
            "(",
            ")",
            "\"a\"",
            "`b`",
            "1",
            "2.5",
            "printf ",
            "index ",
            "eq ",
            "upper ",
            "{{ break }}",
            " ",
            "/*",
            "*/",
            "é",
            "'",
            "\\",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_a_template_or_refused(source in arbitrary_source()) {
        if let Ok(template) = Template::parse("t", &source, &Known) {
            let first = template.execute(data(), &Known);
            prop_assert_eq!(first, template.execute(data(), &Known));
        }
    }

    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{]{0,40}") {
        prop_assert_eq!(rendered(&text), text);
    }

    #[test]
    fn significant_digits_read_back(value in -1e12f64..1e12, precision in 1usize..8) {
        let text = general(value, precision);
        let read: f64 = text.parse().expect("a number");
        let error = (read - value).abs();
        prop_assert!(error <= value.abs() * 10f64.powi(1 - precision as i32), "{} {}", text, value);
    }
}
