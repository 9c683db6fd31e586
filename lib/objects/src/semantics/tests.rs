//! What objects say.

use serde_json::{Value, json};

use super::*;

fn problems(kind: Kind, spec: Value) -> Vec<String> {
    let found = check(kind, &json!({ "spec": spec }));
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn times_and_credentials_of_an_endpoint_fit() {
    let found = problems(
        Kind::ServiceMonitor,
        json!({
            "selector": { "matchExpressions": [{ "key": "a", "operator": "in" }] },
            "endpoints": [
                { "interval": "10s", "scrapeTimeout": "20s" },
                { "interval": "0s", "oauth2": {}, "basicAuth": {}, "authorization": { "type": "Basic" } },
                { "relabelings": [{ "regex": "(" }, { "action": "HashMod", "targetLabel": "x" }] },
            ],
        }),
    );
    assert_eq!(
        found,
        [
            "spec.selector.matchExpressions[0].operator: want one of In, NotIn, Exists, DoesNotExist, got \"in\"",
            "spec.endpoints[0].scrapeTimeout: 20s is longer than the interval 10s",
            "spec.endpoints[1].interval: it must be longer than 0",
            "spec.endpoints[1].oauth2: not in force in this version of Narthex; remove it",
            "spec.endpoints[1]: at most one of basicAuth and authorization can be given",
            "spec.endpoints[1].authorization.type: it cannot be \"basic\"; use basicAuth",
            "spec.endpoints[2].relabelings[0].regex: error parsing regexp: missing closing ): `(`",
            "spec.endpoints[2].relabelings[0].targetLabel: replace needs a target label",
            "spec.endpoints[2].relabelings[1].modulus: hashmod needs a modulus that is not 0",
        ]
    );
}

#[test]
fn rules_are_named_by_their_path() {
    let found = problems(
        Kind::PrometheusRule,
        json!({ "groups": [
            { "name": "g", "rules": [
                { "record": "a", "expr": 1 },
                { "alert": "Down", "expr": "up ==" },
                { "alert": "X", "expr": "up", "annotations": { "s": "{{ foo }}" } },
            ] },
            { "name": "g", "rules": [{ "expr": "up" }] },
        ] }),
    );
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("spec.groups[0].rules[1].expr: could not parse expression: 1:"));
    assert!(
        found[1].starts_with("spec.groups[0].rules[2]: annotation \"s\": template: "),
        "{}",
        found[1]
    );
    assert_eq!(found[2], "spec.groups[1].name: \"g\" is the name of a group before it");
    assert_eq!(found[3], "spec.groups[1].rules[0]: one of 'record' or 'alert' must be set");
}

#[test]
fn routes_name_what_is_there() {
    let found = problems(
        Kind::AlertmanagerConfig,
        json!({
            "receivers": [{ "name": "a" }, { "name": "a" }],
            "route": {
                "receiver": "a",
                "routes": [{
                    "receiver": "b",
                    "muteTimeIntervals": ["nights"],
                    "matchers": [{ "name": "x", "matchType": "=~", "value": "(" }],
                }],
            },
        }),
    );
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[0], "spec.receivers[1].name: \"a\" is the name of a receiver before it");
    assert_eq!(found[1], "spec.route.routes[0].receiver: there is no receiver \"b\"");
    assert_eq!(
        found[2],
        "spec.route.routes[0].muteTimeIntervals[0]: there is no time interval \"nights\""
    );
    assert!(found[3].starts_with("spec.route.routes[0].matchers[0].value: "));
}

#[test]
fn what_would_find_nothing_is_refused_by_name() {
    let found = problems(
        Kind::ScrapeConfig,
        json!({ "consulSDConfigs": [{ "server": "a" }], "azureSDConfigs": [], "fileSDConfigs": [{ "files": ["a.json"] }] }),
    );
    assert_eq!(
        found,
        [
            "spec.consulSDConfigs: not in force in this version of Narthex; remove it",
            "spec.fileSDConfigs[0].files[0]: want an absolute path, got \"a.json\"",
        ]
    );
    let found = problems(Kind::Probe, json!({ "prober": { "url": "http://a/b" } }));
    assert_eq!(
        found,
        [
            "spec.prober.url: want HOST:PORT, without scheme and path, got \"http://a/b\"",
            "spec.targets: a probe needs staticConfig or ingress",
        ]
    );
}
