//! `/api/v1/search/{metric_names,label_names,label_values}`: names as people type them, for
//! completion. Lines of JSON: batches of results, then how it ended. Needs the feature
//! `search-api`.

mod score;

use std::{collections::BTreeMap, str::FromStr};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header;
use narthex_model::{METRIC_NAME, Timestamp};
use narthex_proto::internal::v1::MetadataFamily;

use self::score::{Algorithm, Search};
use super::{families, metadata::Selection};
use crate::{
    Querier,
    error::{ApiError, ErrorType},
    json::Json,
    params::Params,
};

/// Where nothing else is asked for.
const ROWS: usize = 100;
const ROWS_MAX: usize = 10_000;
const HOUR_MILLIS: i64 = 3_600_000;
/// Texts that may be searched for at once.
const SEARCHES_MAX: usize = 32;

/// What names are searched among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    MetricNames,
    LabelNames,
    LabelValues,
}

impl Among {
    fn name(self) -> &'static str {
        match self {
            Self::MetricNames => "metric_names",
            Self::LabelNames => "label_names",
            Self::LabelValues => "label_values",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    BestFirst,
}

struct Wanted {
    search: Search,
    order: Order,
    has_scores: bool,
    has_metadata: bool,
    rows: usize,
    batch: usize,
}

pub(super) async fn search(
    api: &Querier,
    params: &Params,
    among: Among,
) -> Result<Response, ApiError> {
    if !api.options.search_api {
        return Err(ApiError::new(ErrorType::Disabled, "search API disabled"));
    }
    let wanted = Wanted::read(params, among)?;
    let now = api.clock.now();
    let hour_ago = Timestamp::from_millis(now.millis().saturating_sub(HOUR_MILLIS));
    let selection = Selection::of(api, params, (hour_ago, now))?;
    let label = match (among, params.value("label")) {
        (Among::LabelValues, "") => {
            return Err(ApiError::bad_data("missing required parameter \"label\""));
        }
        (Among::LabelValues, name) => name,
        _ => METRIC_NAME,
    };
    let (names, warnings) = match among {
        Among::LabelNames => selection.label_names(api).await?,
        _ => selection.label_values(api, label).await?,
    };
    let (found, has_more) = wanted.choose(names.into_iter());
    let metadata = match wanted.has_metadata {
        true => families::all(api, "").await?,
        false => BTreeMap::new(),
    };
    let lines = wanted.lines(&found, &metadata, (&warnings, has_more));
    let content_type = (header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8");
    Ok(([content_type], lines).into_response())
}

/// `true`, `false` and their like in Go.
fn truth(params: &Params, name: &str, default: bool) -> Result<bool, ApiError> {
    match params.value(name) {
        "" => Ok(default),
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        other => Err(ApiError::bad_data(format!("invalid {name} {other:?}: must be boolean"))),
    }
}

/// A number that 0 leaves at its default.
fn count(params: &Params, name: &str, default: usize) -> Result<usize, ApiError> {
    let text = params.value(name);
    match text {
        "" | "0" => Ok(default),
        _ => usize::from_str(text).map_err(|_| {
            ApiError::bad_data(format!("invalid {name} {text:?}: must be non-negative integer"))
        }),
    }
}

impl Wanted {
    fn read(params: &Params, among: Among) -> Result<Self, ApiError> {
        let searches: Vec<&str> = params.all("search[]").collect();
        if searches.len() > SEARCHES_MAX {
            let given = searches.len();
            let why = format!("{given} search[] parameters, at most {SEARCHES_MAX} are allowed");
            return Err(ApiError::bad_data(why));
        }
        let threshold = match params.value("fuzz_threshold") {
            "" => 0,
            text => text.parse::<u8>().ok().filter(|it| *it <= 100).ok_or_else(|| {
                ApiError::bad_data(format!("invalid fuzz_threshold {text:?}: must be 0-100"))
            })?,
        };
        let algorithm = match params.value("fuzz_alg") {
            "" | "subsequence" => Algorithm::Subsequence,
            "jarowinkler" => Algorithm::JaroWinkler,
            other => {
                return Err(ApiError::bad_data(format!(
                    "unsupported fuzz_alg {other:?}: must be one of [subsequence jarowinkler]"
                )));
            }
        };
        let is_case_sensitive = truth(params, "case_sensitive", true)?;
        let order = order(params, among, searches.is_empty())?;
        Ok(Self {
            search: Search::new(&searches, algorithm, threshold, is_case_sensitive),
            order,
            has_scores: truth(params, "include_score", false)?,
            has_metadata: among == Among::MetricNames && truth(params, "include_metadata", false)?,
            rows: count(params, "limit", ROWS)?.min(ROWS_MAX),
            batch: count(params, "batch_size", ROWS)?,
        })
    }

    /// The names that are found, in order, and whether there are more.
    fn choose(&self, names: impl Iterator<Item = String>) -> (Vec<(String, f64)>, bool) {
        let scored = names.filter_map(|name| Some((self.search.score(&name)?, name)));
        let mut found: Vec<(String, f64)> = scored.map(|(score, name)| (name, score)).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.dedup_by(|(a, _), (b, _)| a == b);
        match self.order {
            Order::Ascending => {}
            Order::Descending => found.reverse(),
            // Stable, so that equal ones stay in order of their names.
            Order::BestFirst => found.sort_by(|(_, a), (_, b)| b.total_cmp(a)),
        }
        let has_more = found.len() > self.rows;
        found.truncate(self.rows);
        (found, has_more)
    }

    fn lines(
        &self,
        found: &[(String, f64)],
        metadata: &BTreeMap<String, Vec<MetadataFamily>>,
        (warnings, has_more): (&[String], bool),
    ) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut batches = found.chunks(self.batch.max(1));
        // There is a first batch even if it is empty; what is odd stands in it.
        let mut batch = batches.next().unwrap_or_default();
        let mut warnings = Some(warnings).filter(|warnings| !warnings.is_empty());
        loop {
            line(&mut lines, |json| {
                json.raw("{").name("results").raw("[");
                for (name, score) in batch {
                    json.element().raw("{").name("name").text(name);
                    if self.has_scores {
                        json.name("score").float(*score);
                    }
                    if let Some(family) = metadata.get(name).and_then(|known| known.first()) {
                        write_family(json, family);
                    }
                    json.raw("}");
                }
                json.raw("]");
                if let Some(warnings) = warnings.take() {
                    json.name("warnings").texts(warnings);
                }
                json.raw("}");
            });
            match batches.next() {
                Some(next) => batch = next,
                None => break,
            }
        }
        line(&mut lines, |json| {
            json.raw("{").name("status").text("success").name("has_more").boolean(has_more);
            json.raw("}");
        });
        lines
    }
}

fn order(params: &Params, among: Among, finds_all: bool) -> Result<Order, ApiError> {
    let (by, direction) = (params.value("sort_by"), params.value("sort_dir"));
    let wrong = |why: String| Err(ApiError::bad_data(why));
    match (by, direction) {
        ("", "") => Ok(Order::Ascending),
        ("", _) => wrong("sort_dir is only valid when sort_by is set".to_owned()),
        ("score", "") if finds_all => wrong("sort_by=score requires search[] to be set".to_owned()),
        ("score", "") => Ok(Order::BestFirst),
        ("score", _) => wrong("sort_dir is not supported for sort_by=score".to_owned()),
        ("alpha", "" | "asc") => Ok(Order::Ascending),
        ("alpha", "dsc") => Ok(Order::Descending),
        ("alpha", other) => {
            wrong(format!("invalid sort_dir {other:?}: must be \"asc\" or \"dsc\""))
        }
        (other, _) => wrong(format!(
            "invalid sort_by {other:?} for {}: must be \"alpha\" or \"score\"",
            among.name()
        )),
    }
}

fn write_family(json: &mut Json<Vec<Bytes>>, family: &MetadataFamily) {
    for (key, text) in [
        ("type", families::type_name(family)),
        ("help", family.help.as_str()),
        ("unit", family.unit.as_str()),
    ] {
        if !text.is_empty() {
            json.name(key).text(text);
        }
    }
}

fn line(lines: &mut Vec<u8>, data: impl FnOnce(&mut Json<Vec<Bytes>>)) {
    let mut json = Json::new(Vec::new());
    data(&mut json);
    json.finish().iter().for_each(|part| lines.extend_from_slice(part));
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted, ApiError> {
        Wanted::read(&Params::parse("", query)?, Among::MetricNames)
    }

    fn names(query: &str) -> (Vec<String>, bool) {
        let wanted = read(query).expect("valid");
        let all = ["up", "node_cpu", "node_load1", "up", "cpu"].map(str::to_owned);
        let (found, has_more) = wanted.choose(all.into_iter());
        (found.into_iter().map(|(name, _)| name).collect(), has_more)
    }

    #[test]
    fn names_are_found_sorted_and_cut() {
        let found = |query: &str| names(query).0;
        assert_eq!(found(""), ["cpu", "node_cpu", "node_load1", "up"]);
        assert_eq!(found("sort_by=alpha&sort_dir=dsc")[0], "up");
        assert_eq!(found("search[]=cpu&sort_by=score"), ["cpu", "node_cpu"]);
        assert_eq!(found("search[]=CPU"), [""; 0]);
        assert_eq!(found("search[]=CPU&case_sensitive=false"), ["cpu", "node_cpu"]);
        assert_eq!(found("search[]=up&search[]=load"), ["node_load1", "up"]);
        assert_eq!(names("limit=3"), (found("limit=3"), true));
        assert_eq!(names("limit=4"), (found(""), false));
    }

    #[test]
    fn refusals_have_prometheuss_words() {
        for (query, why) in [
            ("fuzz_threshold=101", "invalid fuzz_threshold \"101\": must be 0-100"),
            ("sort_dir=asc", "sort_dir is only valid when sort_by is set"),
            ("sort_by=score", "sort_by=score requires search[] to be set"),
            ("limit=-1", "invalid limit \"-1\": must be non-negative integer"),
            ("include_score=2", "invalid include_score \"2\": must be boolean"),
        ] {
            assert_eq!(read(query).err().map(|error| error.message).as_deref(), Some(why));
        }
        assert!(read(&"search[]=a&".repeat(33)).is_err());
    }

    #[test]
    fn lines_are_batches_and_an_end() {
        let wanted = read("batch_size=2&include_score=true&search[]=a").expect("valid");
        let found = ["a", "ab", "abc"].map(|name| (name.to_owned(), 1.0));
        let family = MetadataFamily {
            name: "a".to_owned(),
            metric_type: 1,
            help: "h".to_owned(),
            unit: String::new(),
        };
        let metadata = BTreeMap::from([("a".to_owned(), vec![family])]);
        let lines = wanted.lines(&found, &metadata, (&["odd".to_owned()], true));
        let expected = concat!(
            r#"{"results":[{"name":"a","score":1,"type":"counter","help":"h"},"#,
            r#"{"name":"ab","score":1}],"warnings":["odd"]}"#,
            "\n",
            r#"{"results":[{"name":"abc","score":1}]}"#,
            "\n",
            r#"{"status":"success","has_more":true}"#,
            "\n",
        );
        assert_eq!(String::from_utf8_lossy(&lines), expected);
        let none = wanted.lines(&[], &BTreeMap::new(), (&[], false));
        assert!(none.starts_with(b"{\"results\":[]}\n"));
    }
}
