//! `/api/v1/rules`, `/api/v1/alerts` and `/api/v1/alertmanagers`: what every node says about the rule
//! groups that it evaluates, and where it sends alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use narthex_model::Matcher;
use narthex_proto::internal::v1::{
    AlertStatus, LabelPair, RuleGroupStatus, RuleStatus, RulesRequest,
};
use sha2::{Digest as _, Sha256};

use super::{
    metadata::selector,
    targets::{rfc3339, write_labels},
};
use crate::{
    Querier,
    answer::{Remarks, success},
    error::ApiError,
    json::Json,
    params::Params,
};

/// How long a node may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Groups by file and name, and which nodes did not answer.
struct Found {
    groups: BTreeMap<(String, String), RuleGroupStatus>,
    warnings: Vec<String>,
}

/// Which rules are asked for.
struct Filter {
    /// `Some(true)`: alerting rules only; `Some(false)`: recording rules only.
    is_alerting: Option<bool>,
    names: BTreeSet<String>,
    groups: BTreeSet<String>,
    files: BTreeSet<String>,
    matchers: Vec<Vec<Matcher>>,
    /// States of alerting rules.
    states: BTreeSet<String>,
}

/// A page of groups.
struct Paging {
    groups_max: usize,
    /// Names the first group; empty: the first there is.
    token: String,
}

pub(super) async fn rules(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let filter = Filter::read(api, params)?;
    let paging = Paging::read(params)?;
    let excludes_alerts = excludes_alerts(params)?;
    let found = look(api, excludes_alerts).await;
    let groups: Vec<RuleGroupStatus> = found.groups.into_values().collect();
    let (groups, next) = page(groups, &paging, &filter)?;
    Ok(success(&Remarks::warnings(found.warnings), |json| {
        json.raw("{").name("groups").raw("[");
        groups.iter().for_each(|group| write_group(json, group));
        json.raw("]");
        if let Some(next) = next {
            json.name("groupNextToken").text(&next);
        }
        json.raw("}");
    }))
}

pub(super) async fn alerts(api: &Querier, params: &Params) -> Result<Response, ApiError> {
    let states = states(params)?;
    let found = look(api, false).await;
    let rules = found.groups.values().flat_map(|group| &group.rules);
    let alerts = rules.flat_map(|rule| rule.alerts.iter().map(move |alert| (rule, alert)));
    let alerts = alerts.filter(|(_, alert)| states.is_empty() || states.contains(&alert.state));
    Ok(success(&Remarks::warnings(found.warnings.clone()), |json| {
        json.raw("{").name("alerts").raw("[");
        alerts.for_each(|(rule, alert)| write_alert(json, rule, alert));
        json.raw("]}");
    }))
}

/// Alertmanagers that any node sends alerts to. A node that evaluates no rule sends none, and follows
/// them all the same.
pub(super) async fn alertmanagers(api: &Querier) -> Response {
    let state = api.cluster.state();
    let asked = state.members().values().map(|member| async move {
        (member.name.clone(), api.cluster.alertmanagers(member.id, ANSWER_TIME).await)
    });
    let (mut active, mut dropped) = (BTreeSet::new(), BTreeSet::new());
    let mut warnings = Vec::new();
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(managers) => {
                active.extend(managers.active_urls);
                dropped.extend(managers.dropped_urls);
            }
            Err(status) => warnings.push(format!(
                "node {node} does not answer, its Alertmanagers may be missing: {}",
                status.message()
            )),
        }
    }
    success(&Remarks::warnings(warnings), |json| {
        json.raw("{");
        for (name, urls) in [("activeAlertmanagers", active), ("droppedAlertmanagers", dropped)] {
            json.name(name).raw("[");
            for url in urls {
                json.element().raw("{").name("url").text(&url).raw("}");
            }
            json.raw("]");
        }
        json.raw("}");
    })
}

async fn look(api: &Querier, excludes_alerts: bool) -> Found {
    let state = api.cluster.state();
    let asked = state.members().values().map(|member| async move {
        let request = RulesRequest { excludes_alerts };
        (member.name.clone(), api.cluster.rules(member.id, request, ANSWER_TIME).await)
    });
    let mut found = Found { groups: BTreeMap::new(), warnings: Vec::new() };
    for (node, answer) in join_all(asked).await {
        match answer {
            Ok(groups) => groups.into_iter().for_each(|group| found.add(group)),
            Err(status) => found.warnings.push(format!(
                "node {node} does not answer, its rule groups may be missing: {}",
                status.message()
            )),
        }
    }
    found
}

impl Found {
    /// A group that just changed owners is told once, by whoever evaluated last.
    fn add(&mut self, group: RuleGroupStatus) {
        let key = (group.file.clone(), group.name.clone());
        match self.groups.get(&key) {
            Some(known) if known.last_evaluation_ms >= group.last_evaluation_ms => {}
            _ => drop(self.groups.insert(key, group)),
        }
    }
}

impl Filter {
    fn read(api: &Querier, params: &Params) -> Result<Self, ApiError> {
        let is_alerting = match params.value("type").to_lowercase().as_str() {
            "" => None,
            "alert" => Some(true),
            "record" => Some(false),
            other => {
                let why = format!("not supported value {other:?}");
                return Err(ApiError::invalid_parameter("type", &why));
            }
        };
        let all = |name: &str| params.all(name).map(str::to_owned).collect();
        let matchers = params.all("match[]").map(|text| selector(api, text));
        Ok(Self {
            is_alerting,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: matchers.collect::<Result<_, _>>()?,
            states: states(params)?,
        })
    }

    fn takes_group(&self, group: &RuleGroupStatus) -> bool {
        let is_among = |names: &BTreeSet<String>, name| names.is_empty() || names.contains(name);
        is_among(&self.groups, &group.name) && is_among(&self.files, &group.file)
    }

    fn takes(&self, rule: &RuleStatus) -> bool {
        let is_kind = self.is_alerting.is_none_or(|is_alerting| is_alerting == rule.is_alerting);
        let is_named = self.names.is_empty() || self.names.contains(&rule.name);
        let is_state = self.states.is_empty() || self.states.contains(&rule.state);
        is_kind && is_named && is_state && self.matches(&rule.labels)
    }

    /// Labels that are templates have no value to be matched.
    fn matches(&self, labels: &[LabelPair]) -> bool {
        let value = |name: &str| {
            let found = labels.iter().find(|label| label.name == name);
            found.map(|label| label.value.as_str()).filter(|value| !value.contains("{{"))
        };
        let is_matched =
            |matcher: &Matcher| matcher.matches(value(matcher.name()).unwrap_or_default());
        self.matchers.is_empty() || self.matchers.iter().any(|set| set.iter().all(is_matched))
    }
}

impl Paging {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let (limit, token) = (params.value("group_limit"), params.value("group_next_token"));
        let wrong = |name, why: &str| Err(ApiError::invalid_parameter(name, why));
        if limit.is_empty() {
            return match token.is_empty() {
                true => Ok(Self { groups_max: usize::MAX, token: String::new() }),
                false => wrong(
                    "group_next_token",
                    "group_limit needs to be present in order to paginate over the groups",
                ),
            };
        }
        match limit.parse::<i32>() {
            Ok(limit) if limit > 0 => {
                let groups_max = usize::try_from(limit).unwrap_or(usize::MAX);
                Ok(Self { groups_max, token: token.to_owned() })
            }
            Ok(_) => wrong("group_limit", "group_limit needs to be greater than 0"),
            Err(_) => {
                let why = "group_limit needs to be a valid number: strconv.ParseInt: parsing";
                wrong("group_limit", &format!("{why} {limit:?}: invalid syntax"))
            }
        }
    }
}

/// The groups of a page, each with the rules that are asked for, and what names the next page.
fn page(
    groups: Vec<RuleGroupStatus>,
    paging: &Paging,
    filter: &Filter,
) -> Result<(Vec<RuleGroupStatus>, Option<String>), ApiError> {
    let mut is_found = paging.token.is_empty();
    let mut shown = Vec::new();
    for mut group in groups {
        is_found = is_found || token_of(&group) == paging.token;
        if !is_found || !filter.takes_group(&group) {
            continue;
        }
        group.rules.retain(|rule| filter.takes(rule));
        if group.rules.is_empty() {
            continue;
        }
        if shown.len() == paging.groups_max {
            return Ok((shown, Some(token_of(&group))));
        }
        shown.push(group);
    }
    if !is_found {
        let token = &paging.token;
        let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
        return Err(ApiError::invalid_parameter("group_next_token", &why));
    }
    Ok((shown, None))
}

fn token_of(group: &RuleGroupStatus) -> String {
    let hash = Sha256::digest(format!("{};{}", group.file, group.name));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn states(params: &Params) -> Result<BTreeSet<String>, ApiError> {
    let mut states = BTreeSet::new();
    for name in ["state", "state[]"] {
        for state in params.all(name).filter(|state| !state.is_empty()) {
            if !["inactive", "pending", "firing"].contains(&state) {
                let why = format!("not supported value {state:?}");
                return Err(ApiError::invalid_parameter(name, &why));
            }
            states.insert(state.to_owned());
        }
    }
    Ok(states)
}

fn excludes_alerts(params: &Params) -> Result<bool, ApiError> {
    match params.value("exclude_alerts").to_lowercase().as_str() {
        "" | "0" | "f" | "false" => Ok(false),
        "1" | "t" | "true" => Ok(true),
        other => {
            let why = "error converting exclude_alerts: strconv.ParseBool: parsing";
            let why = format!("{why} {other:?}: invalid syntax");
            Err(ApiError::invalid_parameter("exclude_alerts", &why))
        }
    }
}

fn write_group(json: &mut Json<Vec<Bytes>>, group: &RuleGroupStatus) {
    json.element().raw("{").name("name").text(&group.name);
    json.name("file").text(&group.file);
    json.name("rules").raw("[");
    for rule in &group.rules {
        json.element();
        match rule.is_alerting {
            true => write_alerting(json, rule),
            false => write_recording(json, rule),
        }
    }
    json.raw("]").name("interval").float(group.interval_seconds);
    json.name("limit").integer(group.limit);
    json.name("evaluationTime").float(group.evaluation_seconds);
    json.name("lastEvaluation").text(&rfc3339(group.last_evaluation_ms)).raw("}");
}

fn write_alerting(json: &mut Json<Vec<Bytes>>, rule: &RuleStatus) {
    json.raw("{").name("state").text(&rule.state);
    json.name("name").text(&rule.name);
    json.name("query").text(&rule.query);
    json.name("duration").float(rule.hold_seconds);
    json.name("keepFiringFor").float(rule.keep_firing_seconds);
    json.name("labels");
    write_labels(json, &rule.labels);
    json.name("annotations");
    write_labels(json, &rule.annotations);
    json.name("alerts").raw("[");
    rule.alerts.iter().for_each(|alert| write_alert(json, rule, alert));
    json.raw("]");
    if rule.unconfirmed_since_ms != 0 {
        json.name("unconfirmedSince").text(&rfc3339(rule.unconfirmed_since_ms));
    }
    write_health(json, rule);
    json.name("type").text("alerting").raw("}");
}

fn write_recording(json: &mut Json<Vec<Bytes>>, rule: &RuleStatus) {
    json.raw("{").name("name").text(&rule.name);
    json.name("query").text(&rule.query);
    if !rule.labels.is_empty() {
        json.name("labels");
        write_labels(json, &rule.labels);
    }
    write_health(json, rule);
    json.name("type").text("recording").raw("}");
}

fn write_health(json: &mut Json<Vec<Bytes>>, rule: &RuleStatus) {
    json.name("health").text(&rule.health);
    if !rule.last_error.is_empty() {
        json.name("lastError").text(&rule.last_error);
    }
    json.name("evaluationTime").float(rule.evaluation_seconds);
    json.name("lastEvaluation").text(&rfc3339(rule.last_evaluation_ms));
}

fn write_alert(json: &mut Json<Vec<Bytes>>, rule: &RuleStatus, alert: &AlertStatus) {
    json.element().raw("{").name("labels");
    write_labels(json, &alert.labels);
    json.name("annotations");
    write_labels(json, &alert.annotations);
    json.name("state").text(&alert.state);
    json.name("activeAt").text(&rfc3339(alert.active_at_ms));
    if alert.keep_firing_since_ms != 0 {
        json.name("keepFiringSince").text(&rfc3339(alert.keep_firing_since_ms));
    }
    if rule.unconfirmed_since_ms != 0 {
        json.name("unconfirmedSince").text(&rfc3339(rule.unconfirmed_since_ms));
    }
    json.name("value").text(&alert.value).raw("}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, is_alerting: bool, labels: &[(&str, &str)]) -> RuleStatus {
        let pair = |(name, value): &(&str, &str)| LabelPair {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        RuleStatus {
            name: name.to_owned(),
            is_alerting,
            state: if is_alerting { "firing" } else { "" }.to_owned(),
            labels: labels.iter().map(pair).collect(),
            ..RuleStatus::default()
        }
    }

    fn group(file: &str, name: &str, rules: Vec<RuleStatus>) -> RuleGroupStatus {
        let (file, name) = (file.to_owned(), name.to_owned());
        RuleGroupStatus { file, name, rules, ..RuleGroupStatus::default() }
    }

    fn groups() -> Vec<RuleGroupStatus> {
        let severe = [("severity", "page"), ("host", "{{ $labels.instance }}")];
        vec![
            group("a", "x", vec![rule("r", false, &[]), rule("A", true, &severe)]),
            group("a", "y", vec![rule("r", false, &[("severity", "page")])]),
            group("b", "x", vec![rule("B", true, &[])]),
        ]
    }

    fn filter() -> Filter {
        Filter {
            is_alerting: None,
            names: BTreeSet::new(),
            groups: BTreeSet::new(),
            files: BTreeSet::new(),
            matchers: Vec::new(),
            states: BTreeSet::new(),
        }
    }

    fn shown(filter: &Filter) -> Vec<String> {
        let all = Paging { groups_max: usize::MAX, token: String::new() };
        let (groups, next) = page(groups(), &all, filter).expect("no token");
        assert_eq!(next, None);
        let names = |group: &RuleGroupStatus| {
            let names: Vec<&str> = group.rules.iter().map(|rule| rule.name.as_str()).collect();
            format!("{}/{}:{}", group.file, group.name, names.join(","))
        };
        groups.iter().map(names).collect()
    }

    #[test]
    fn rules_are_filtered_and_groups_without_any_left_out() {
        assert_eq!(shown(&filter()), ["a/x:r,A", "a/y:r", "b/x:B"]);
        let alerting = Filter { is_alerting: Some(true), ..filter() };
        assert_eq!(shown(&alerting), ["a/x:A", "b/x:B"]);
        let named = Filter { names: ["r".to_owned()].into(), ..filter() };
        assert_eq!(shown(&named), ["a/x:r", "a/y:r"]);
        let of_group =
            Filter { groups: ["x".to_owned()].into(), files: ["b".to_owned()].into(), ..filter() };
        assert_eq!(shown(&of_group), ["b/x:B"]);
        let severe = vec![Matcher::equal("severity", "page")];
        assert_eq!(shown(&Filter { matchers: vec![severe], ..filter() }), ["a/x:A", "a/y:r"]);
        let templated = vec![Matcher::equal("host", "{{ $labels.instance }}")];
        assert!(shown(&Filter { matchers: vec![templated], ..filter() }).is_empty());
        let firing = Filter { states: ["firing".to_owned()].into(), ..filter() };
        assert_eq!(shown(&firing), ["a/x:A", "b/x:B"]);
    }

    #[test]
    fn pages_follow_each_other_by_token() {
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let paging = Paging { groups_max: 1, token: token.clone() };
            let (groups, next) = page(groups(), &paging, &filter()).expect("a known token");
            seen.extend(groups.into_iter().map(|group| (group.file, group.name)));
            let Some(next) = next else { break };
            token = next;
        }
        let pair = |file: &str, name: &str| (file.to_owned(), name.to_owned());
        assert_eq!(seen, [pair("a", "x"), pair("a", "y"), pair("b", "x")]);
        let unknown = Paging { groups_max: 1, token: "gone".to_owned() };
        let error = page(groups(), &unknown, &filter()).expect_err("unknown");
        assert!(error.message.contains("were rule groups changed?"), "{}", error.message);
    }
}
