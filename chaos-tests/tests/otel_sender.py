"""Exports one round of metrics with OpenTelemetry's SDK, over HTTP and over gRPC."""

import sys

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource


def recording(exporter, results):
    """Lets the exporter say what became of each export."""
    export = exporter.export

    def observed(*args, **kwargs):
        result = export(*args, **kwargs)
        results.append(result)
        return result

    exporter.export = observed
    return exporter


def send(way, exporter):
    results = []
    resource = Resource(
        {
            "service.namespace": "shop",
            "service.name": way,
            "service.instance.id": "i-1",
            "host.name": "h1",
        }
    )
    bounds = ExplicitBucketHistogramAggregation(boundaries=[0.5, 5.0])
    reader = PeriodicExportingMetricReader(
        recording(exporter, results), export_interval_millis=3_600_000
    )
    provider = MeterProvider(
        resource=resource,
        metric_readers=[reader],
        views=[View(instrument_name="latency", aggregation=bounds)],
    )
    meter = provider.get_meter("test")
    get = {"http.method": "GET"}
    requests = meter.create_counter("requests", unit="{request}", description="Requests.")
    requests.add(3, get)
    requests.add(4, get)
    meter.create_up_down_counter("queue.length").add(-3, get)
    meter.create_observable_gauge("cpu.load", [lambda _: [Observation(0.25, get)]], unit="1")
    latency = meter.create_histogram("latency", unit="s")
    for seconds in (0.25, 1.0, 7.0):
        latency.record(seconds, get)
    assert provider.force_flush(30_000), way
    provider.shutdown()
    assert results and set(results) == {MetricExportResult.SUCCESS}, (way, results)


url = sys.argv[1]
send(
    "http",
    HttpExporter(endpoint=f"{url}/api/v1/otlp/v1/metrics", compression=Compression.Gzip),
)
send("grpc", GrpcExporter(endpoint=url, insecure=True))
print("all exported")
