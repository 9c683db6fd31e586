use proptest::prelude::*;

use super::*;

const PAGE: &str = "\
# HELP http_requests_total Requests \\\\ so far.
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000
http_requests_total{method=\"post\",code=\"400\",}    3 -1395066363000

# A comment
#HELP no help
msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find\\n\\\"file\\\"\"} 1.458255915e9
no_labels 12.47
\tspaced {  a = \"b\" , c=\"d\"}\t+Inf  
{\"utf.8 name\", \"läbel\"=\"wert\"} NaN
tight{a=\"}\"}1
";

fn samples(page: &str) -> Vec<(String, f64, Option<i64>)> {
    let mut parser = Parser::new(page.as_bytes());
    let mut samples = Vec::new();
    while let Some(item) = parser.next(None).expect(page) {
        if let Item::Sample(line) = item {
            let labels = parse_series(line.series).expect("a valid series");
            let text: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            samples.push((text.join("|"), line.value, line.timestamp_millis));
        }
    }
    samples
}

fn refusal(page: &[u8]) -> Option<String> {
    let mut parser = Parser::new(page);
    loop {
        match parser.next(None) {
            Err(error) => return Some(error.to_string()),
            Ok(None) => return None,
            Ok(Some(Item::Sample(line))) => {
                if let Err(reason) = parse_series(line.series) {
                    return Some(reason.to_string());
                }
            }
            Ok(Some(_)) => {}
        }
    }
}

#[test]
fn a_page_with_everything() {
    let samples = samples(PAGE);
    let texts: Vec<&str> = samples.iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "__name__=http_requests_total|method=post|code=200",
            "__name__=http_requests_total|method=post|code=400",
            "__name__=msdos_file_access_time_seconds|path=C:\\DIR\\FILE.TXT|error=Cannot find\n\"file\"",
            "__name__=no_labels",
            "__name__=spaced|a=b|c=d",
            "__name__=utf.8 name|läbel=wert",
            "__name__=tight|a=}",
        ]
    );
    assert_eq!((samples[0].1, samples[0].2), (1027.0, Some(1_395_066_363_000)));
    assert_eq!(samples[1].2, Some(-1_395_066_363_000));
    assert_eq!(samples[4].1, f64::INFINITY);
    assert_eq!(samples[5].1.to_bits(), 0x7ff8_0000_0000_0001);
}

#[test]
fn metadata_is_read() {
    let mut parser = Parser::new(PAGE.as_bytes());
    assert_eq!(
        parser.next(None),
        Ok(Some(Item::Help { metric: "http_requests_total", text: "Requests \\\\ so far." }))
    );
    assert_eq!(
        parser.next(None),
        Ok(Some(Item::Type { metric: "http_requests_total", kind: MetricKind::Counter }))
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let cases: &[(&str, &str)] = &[
        ("a 1\nb\n", "line 2: expected value after metric, found the end of the line"),
        ("a 1\n\n\nb x\n", "line 4: \"x\" is not a valid value"),
        ("a 1 2 3\n", "line 1: expected end of line after the timestamp, found \"3\""),
        ("a 1 2.5\n", "line 1: \"2.5\" is not a valid timestamp"),
        ("a{b=\"c\" 1\n", "line 1: expected closing brace or quote"),
        ("a{b=\"c} 1\n", "line 1: expected closing brace or quote"),
        ("9a 1\n", "line 1: expected metric name, found \"9a 1\""),
        ("{} 1\n", "metric name is missing"),
        ("{a=\"b\"} 1\n", "metric name is missing"),
        ("a{b} 1\n", "expected equal sign after the label name"),
        ("a{b=c} 1\n", "expected label value, found \"c}\""),
        ("a{b=\"c\",b=\"d\"} 1\n", "label name \"b\" is not unique"),
        ("a{\"b\"} 1\n", "metric name is given twice"),
        ("a{,} 1\n", "expected label name"),
        ("a{\"\"=\"x\"} 1\n", "expected label name"),
        ("a{1b=\"x\"} 1\n", "expected label name"),
        ("# TYPE a foo\n", "line 1: invalid metric type \"foo\""),
        ("# HELP 9 foo\n", "line 1: expected metric name after HELP or TYPE"),
        ("\0 1\n", "line 1: expected metric name"),
        ("a 1\r\n", "line 1: \"1\\r\" is not a valid value"),
        ("a 0x1p3\n", "line 1: \"0x1p3\" is not a valid value"),
        ("a.b 1\n", "line 1: \".b\" is not a valid value"),
    ];
    for (page, reason) in cases {
        let refusal = refusal(page.as_bytes()).unwrap_or_else(|| panic!("{page:?} was accepted"));
        assert!(refusal.contains(reason), "{page:?}: {refusal}");
    }
    let invalid = refusal(b"a{b=\"\xff\"} 1\n").expect("not UTF-8");
    assert!(invalid.contains("label value is not valid UTF-8"), "{invalid}");
    assert!(refusal(b"# HELP a \xff\n").is_some());
}

#[test]
fn an_expected_series_must_stand_there_whole() {
    let next = |page: &'static str, expected: &str| {
        let mut parser = Parser::new(page.as_bytes());
        match parser.next(Some(expected.as_bytes())) {
            Ok(Some(Item::Sample(line))) => (line.series, line.is_expected),
            other => panic!("{page:?}: {other:?}"),
        }
    };
    assert_eq!(next("a{b=\"c\"} 1\n", "a{b=\"c\"}"), (&b"a{b=\"c\"}"[..], true));
    assert_eq!(next("a 1\n", "a"), (&b"a"[..], true));
    assert_eq!(next("ab 1\n", "a"), (&b"ab"[..], false));
    assert_eq!(next("a{b=\"c\"} 1\n", "a"), (&b"a{b=\"c\"}"[..], false));
    assert_eq!(next("a {b=\"c\"} 1\n", "a"), (&b"a {b=\"c\"}"[..], false));
    assert_eq!(next("a  {b=\"c\"} 1\n", "a"), (&b"a  {b=\"c\"}"[..], false));
}

/// Reads a page through a cache; returns what each sample's text was cached as.
fn through(cache: &mut SeriesCache<String>, page: &str) -> Result<Vec<String>, ParseError> {
    cache.begin();
    let mut parser = Parser::new(page.as_bytes());
    let mut values = Vec::new();
    loop {
        let item = match parser.next(cache.expected()) {
            Ok(item) => item,
            Err(error) => {
                cache.abort();
                return Err(error);
            }
        };
        match item {
            None => break,
            Some(Item::Sample(line)) if line.is_expected => {
                values.push(cache.take_expected().expect("was expected").clone());
            }
            Some(Item::Sample(line)) => {
                if cache.find(line.series).is_none() {
                    cache.insert(line.series, String::from_utf8_lossy(line.series).into_owned());
                    values.push(String::from_utf8_lossy(line.series).into_owned());
                } else {
                    values.push(cache.find(line.series).expect("found").clone());
                }
            }
            Some(_) => {}
        }
    }
    cache.commit();
    Ok(values)
}

#[test]
fn a_cache_follows_pages_that_change() {
    let mut cache = SeriesCache::new(7);
    for (page, series) in [
        ("a 1\nb 2\nc 3\n", "a b c"),
        ("a 1\nb 2\nc 3\n", "a b c"),
        ("c 1\na 2\nd 3\n", "c a d"),
        ("", ""),
        ("a 1\na 2\nb 1\n", "a a b"),
    ] {
        let values = through(&mut cache, page).expect("valid");
        assert_eq!(values.join(" "), series, "{page:?}");
    }
    assert_eq!(cache.len(), 2);
    assert!(through(&mut cache, "a 1\nz 1\ny x\n").is_err());
    assert_eq!(cache.len(), 2, "a page that failed adds nothing");
    assert_eq!(through(&mut cache, "a 1\nz 1\n").expect("valid"), ["a", "z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(page in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = refusal(&page);
    }

    #[test]
    fn anything_near_the_format_is_read_or_refused(page in "([a#{}\", =\\\\\n\t 1e.+-]|HELP|TYPE|NaN|a\\{b=\"c\"\\} 1\n){0,40}") {
        let _ = refusal(page.as_bytes());
    }

    #[test]
    fn what_is_written_is_read(
        labels in proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", any::<String>(), 0..4),
        value in any::<f64>(),
        time in proptest::option::of(any::<i64>()),
    ) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let inner: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escaped(v))).collect();
        let time_text = time.map(|time| format!(" {time}")).unwrap_or_default();
        let page = format!("m{{{}}} {value:?}{time_text}\n", inner.join(","));
        let read = samples(&page);
        let expected: Vec<String> = std::iter::once("__name__=m".to_owned())
            .chain(labels.iter().map(|(n, v)| format!("{n}={v}")))
            .collect();
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(&read[0].0, &expected.join("|"));
        prop_assert!(read[0].1 == value || value.is_nan() && read[0].1.is_nan());
        prop_assert_eq!(read[0].2, time);
    }

    #[test]
    fn a_cache_never_changes_what_is_read(pages in proptest::collection::vec(proptest::collection::vec("[a-d]([{]x=\"[yz]\"[}])?", 0..8), 1..6)) {
        let mut cache = SeriesCache::new(1);
        for series in pages {
            let page: String = series.iter().map(|series| format!("{series} 1\n")).collect();
            prop_assert_eq!(through(&mut cache, &page).expect("valid"), series.clone());
            let distinct: std::collections::BTreeSet<_> = series.iter().collect();
            prop_assert_eq!(cache.len(), distinct.len());
        }
    }
}
