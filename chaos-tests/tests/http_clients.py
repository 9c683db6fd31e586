"""Asks a cluster through prometheus-api-client and prometheus-pandas.

http_clients.py URL SEQUENCE INSTANCE...: the instances are those of the job `page`, and all are up.
"""

import sys
from datetime import datetime, timedelta, timezone

from prometheus_api_client import (
    MetricRangeDataFrame,
    MetricSnapshotDataFrame,
    MetricsList,
    PrometheusApiClientException,
    PrometheusConnect,
)
from prometheus_pandas import query as pandas_query

url, sequence, *instances = sys.argv[1:]
instances = sorted(instances)


def check(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


def ask_api_client():
    client = PrometheusConnect(url=url, disable_ssl=True)
    check("connection", client.check_prometheus_connection(), True)
    metrics = client.all_metrics()
    check("metrics", {"up", sequence} <= set(metrics), True)
    check("label names", {"job", "instance"} <= set(client.get_label_names()), True)
    check("instances", set(instances) <= set(client.get_label_values("instance")), True)
    current = client.get_current_metric_value("up", label_config={"job": "page"})
    check("current", sorted(row["metric"]["instance"] for row in current), instances)
    check("values", {row["value"][1] for row in current}, {"1"})
    now = datetime.now(timezone.utc)
    hour = {"start_time": now - timedelta(hours=1), "end_time": now}
    ranges = client.get_metric_range_data(
        sequence, {"job": "page"}, chunk_size=timedelta(hours=1), **hour
    )
    check("ranges", sorted({row["metric"]["instance"] for row in ranges}), instances)
    check("objects", len(MetricsList(ranges)), len(instances))
    frame = MetricRangeDataFrame(ranges)
    check("rows", len(frame) >= 2 * len(instances), True)
    check("columns", {"instance", "job", "value"} <= set(frame.columns), True)
    snapshot = MetricSnapshotDataFrame(current)
    check("snapshot", sorted(snapshot["instance"]), instances)
    asked = client.custom_query("sum(up{job='page'})")
    check("custom", asked[0]["value"][1], str(len(instances)))
    steps = client.custom_query_range(
        "sum(up{job='page'})", start_time=now - timedelta(minutes=1), end_time=now, step="5s"
    )
    check("steps", steps[0]["values"][-1][1], str(len(instances)))
    counts = client.get_metric_aggregation(
        f"{sequence}{{job='page',instance='{instances[0]}'}}", ["max", "min", "average"], **hour, step="1"
    )
    check("aggregation", counts["max"] >= counts["average"] >= counts["min"], True)
    try:
        client.custom_query("sum(")
    except PrometheusApiClientException as error:
        check("refusal", "bad_data" in str(error), True)
    else:
        sys.exit("a query that is none was answered")


def ask_pandas():
    client = pandas_query.Prometheus(url)
    scalar = client.query("scalar(sum(up{job='page'}))")
    # It gives the time, too.
    check("scalar", float(scalar[-1]), float(len(instances)))
    vector = client.query("up{job='page'}")
    check("vector", len(vector), len(instances))
    now = datetime.now(timezone.utc).timestamp()
    matrix = client.query_range(f"{sequence}{{job='page'}}", now - 60, now, "1s")
    check("matrix", matrix.shape[1], len(instances))
    check("samples", int(matrix.count().min()) >= 2, True)


ask_api_client()
ask_pandas()
print("all answered")
