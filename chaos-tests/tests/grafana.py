"""Sends a cluster the requests of Grafana's Prometheus data source, and checks the answers.

grafana.py URL SEQUENCE INSTANCE...: the instances are those of the job `page`, and all are up.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

url, sequence, *instances = sys.argv[1:]
instances = sorted(instances)
now = time.time()
start, end = f"{now - 300:.3f}", f"{now:.3f}"
HEADERS = {
    "User-Agent": "Grafana/12.2.0",
    "Accept-Encoding": "identity",
    "X-Datasource-Uid": "prom",
    "X-Grafana-Org-Id": "1",
    "X-Dashboard-Uid": "d1",
    "X-Panel-Id": "2",
    "X-Query-Group-Id": "g1",
    "Fromalert": "false",
}


def check(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


def send(path, parameters, method, headers=HEADERS):
    text = urllib.parse.urlencode(parameters, doseq=True)
    target, body = f"{url}{path}", None
    headers = dict(headers)
    if method == "POST":
        body = text.encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    elif text:
        target += "?" + text
    request = urllib.request.Request(target, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def ask(path, parameters=(), method="GET"):
    status, headers, body = send(path, parameters, method)
    check(f"status of {path}: {body[:200]}", status, 200)
    check(f"type of {path}", headers["Content-Type"].split(";")[0], "application/json")
    answer = json.loads(body)
    check(f"success of {path}", answer["status"], "success")
    return answer["data"]


def settings():
    """What the page of a data source asks when it is saved and tested."""
    version = ask("/api/v1/status/buildinfo")["version"]
    check("version", tuple(map(int, version.split(".")[:2])) >= (3, 0), True)
    for method in ("GET", "POST"):
        found = ask("/api/v1/query", {"query": "1+1", "time": end}, method)
        check("heuristics", (found["resultType"], found["result"][1]), ("scalar", "2"))
    ask("/api/v1/rules")
    check("flags", isinstance(ask("/api/v1/status/flags"), dict), True)


def builder():
    """The label browser, the query builder, and completion."""
    span = {"start": start, "end": end}
    names = ask("/api/v1/labels", span)
    check("labels", {"__name__", "instance", "job"} <= set(names), True)
    selector = f'{sequence}{{job="page"}}'
    check("labels of a series", "instance" in ask("/api/v1/labels", {**span, "match[]": selector}, "POST"), True)
    metrics = ask("/api/v1/label/__name__/values", {**span, "limit": 40000})
    check("metrics", {"up", sequence} <= set(metrics), True)
    values = ask("/api/v1/label/instance/values", {**span, "match[]": [selector, "nothing"]})
    check("values", sorted(values), instances)
    escaped = ask("/api/v1/label/U__http_2e_status/values", span)
    check("values of an escaped name", escaped, [])
    series = ask("/api/v1/series", {**span, "match[]": selector}, "POST")
    check("series", sorted(row["instance"] for row in series), instances)
    metadata = ask("/api/v1/metadata", {"limit": 19000})
    check("metadata", metadata[sequence][0]["type"], "gauge")
    check("one metric", list(ask("/api/v1/metadata", {"metric": sequence})), [sequence])


def panels():
    """Dashboards and Explore."""
    query = {"query": f'sum(rate({sequence}{{job="page"}}[1m0s]))', "start": start, "end": end, "step": "15"}
    for method in ("GET", "POST"):
        found = ask("/api/v1/query_range", query, method)
        check("matrix", found["resultType"], "matrix")
        check("points", len(found["result"][0]["values"]) >= 1, True)
        found = ask("/api/v1/query", {"query": "up", "time": end}, method)
        check("vector", len([row for row in found["result"] if row["metric"]["job"] == "page"]), len(instances))
    exemplars = {"query": sequence, "start": start, "end": end}
    for method in ("GET", "POST"):
        check("exemplars", ask("/api/v1/query_exemplars", exemplars, method), [])
    stats = ask("/api/v1/query_range", {**query, "stats": "all"}, "POST")["stats"]
    check("stats", stats["samples"]["totalQueryableSamples"] > 0, True)
    status, _, body = send("/api/v1/query_range", {**query, "query": "sum("}, "POST")
    refusal = json.loads(body)
    check("refusal", (status, refusal["status"], refusal["errorType"]), (400, "error", "bad_data"))
    far = {**query, "start": str(now - 86400 * 30), "step": "1"}
    status, _, body = send("/api/v1/query_range", far, "POST")
    check("too many points", (status, "11,000 points" in json.loads(body)["error"]), (400, True))


def browser():
    """Access from the browser, and compressed answers."""
    origin = {**HEADERS, "Origin": "http://grafana.example", "Access-Control-Request-Method": "POST"}
    status, headers, _ = send("/api/v1/query_range", (), "OPTIONS", origin)
    check("preflight", (status, headers["Access-Control-Allow-Origin"]), (204, "*"))
    check("methods", "POST" in headers["Access-Control-Allow-Methods"], True)
    _, headers, _ = send("/api/v1/labels", (), "GET", origin)
    check("allowed", headers["Access-Control-Allow-Origin"], "*")
    for encoding in ("gzip", "deflate"):
        _, headers, _ = send("/api/v1/label/__name__/values", (), "GET", {**HEADERS, "Accept-Encoding": encoding})
        check("encoding", headers["Content-Encoding"], encoding)


settings()
builder()
panels()
browser()
print("all answered")
