//! A set of queries, timed one after the other.

use std::time::Duration;

use crate::{clock::now, http::Http, statistics::median, unmeasured::Unmeasured};

/// The set that is used where no file is named.
pub const OURS: &str = include_str!("../queries.tsv");

/// Before what is timed, so that files are in memory.
const WARM_UPS: usize = 1;
/// Of which the median counts.
const ASKED: usize = 5;
/// One answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// One query of a set.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub name: String,
    /// None of an instant query.
    pub range: Option<Range>,
    pub expression: String,
}

/// Of a range query, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub lookback: f64,
    pub step: f64,
}

/// Reads a set: lines of name, `instant` or `range`, lookback and step in seconds, expression,
/// with tabs between them; `#` begins a comment.
pub fn read(set: &str) -> Result<Vec<Query>, String> {
    let lines = set.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| query(line).ok_or_else(|| format!("no query: {line}"))).collect()
}

fn query(line: &str) -> Option<Query> {
    let [name, kind, lookback, step, expression]: [&str; 5] =
        line.splitn(5, '\t').collect::<Vec<_>>().try_into().ok()?;
    let range = match kind {
        "instant" => None,
        "range" => Some(Range { lookback: lookback.parse().ok()?, step: step.parse().ok()? }),
        _ => return None,
    };
    Some(Query { name: name.to_owned(), range, expression: expression.to_owned() })
}

/// What one query took.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    pub name: String,
    pub median_millis: f64,
    /// Series of the answer.
    pub series: usize,
}

/// Times each query of a set whose data end at `end_millis`. `cached` lets a server answer from
/// what it remembers of its last answers.
pub fn time(
    queries: &[Query],
    url: &str,
    end_millis: i64,
    cached: bool,
) -> Result<Vec<Timed>, Unmeasured> {
    let http = Http::new(url, ANSWER_DEADLINE);
    let mut all = Vec::new();
    for query in queries {
        let (path, mut form) = request(query, end_millis as f64 / 1e3);
        if !cached {
            form.push(("nocache", "1".to_owned()));
        }
        let (mut millis, mut series) = (Vec::new(), 0);
        for at in 0..WARM_UPS + ASKED {
            let start = now();
            let answer = http.query(path, &form)?;
            if at >= WARM_UPS {
                millis.push(start.elapsed().as_secs_f64() * 1e3);
            }
            series = answer["result"].as_array().map_or(0, Vec::len);
        }
        let median_millis = median(&millis).expect("it was asked at least once");
        all.push(Timed { name: query.name.clone(), median_millis, series });
    }
    Ok(all)
}

fn request(query: &Query, end: f64) -> (&'static str, Vec<(&'static str, String)>) {
    let expression = ("query", query.expression.clone());
    match query.range {
        None => ("/api/v1/query", vec![expression, ("time", end.to_string())]),
        Some(Range { lookback, step }) => (
            "/api/v1/query_range",
            vec![
                expression,
                ("start", (end - lookback).to_string()),
                ("end", end.to_string()),
                ("step", step.to_string()),
            ],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page;

    #[test]
    fn our_set_asks_for_what_the_made_up_page_has() {
        let queries = read(OURS).unwrap();
        assert_eq!(queries.len(), 13);
        let page = page::made_up();
        for query in &queries {
            let words = query.expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics = words.filter(|word| word.starts_with("node_") && word.len() > 14);
            for metric in metrics.filter(|metric| !metric.ends_with('_')) {
                assert!(page.contains(metric), "{metric} of {}", query.name);
            }
        }
    }

    #[test]
    fn a_line_is_a_query_or_an_error() {
        let set = "# comment\na\trange\t3600\t15\tup\n\nb\tinstant\t0\t0\tsum(x)\t\n";
        let queries = read(set).unwrap();
        assert_eq!(queries[0].range, Some(Range { lookback: 3600.0, step: 15.0 }));
        assert_eq!((queries[1].range, &*queries[1].expression), (None, "sum(x)\t"));
        for bad in ["a\trange\tx\t15\tup", "a\tsometimes\t0\t0\tup", "a\tinstant\t0\t0"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let (path, form) = request(&queries[0], 7200.5);
        assert_eq!(path, "/api/v1/query_range");
        assert!(form.contains(&("start", "3600.5".to_owned())));
    }
}
