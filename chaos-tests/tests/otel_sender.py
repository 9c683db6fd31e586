"""Exports two rounds of metrics with OpenTelemetry's SDK, over HTTP and over gRPC."""

import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

GET = {"http.method": "GET"}


def recording(exporter, results):
    """Lets the exporter say what became of each export."""
    export = exporter.export

    def observed(*args, **kwargs):
        result = export(*args, **kwargs)
        results.append(result)
        return result

    exporter.export = observed
    return exporter


def traced():
    """A context in which a sampled span is under way: what is recorded in it is an exemplar."""
    span = trace.SpanContext(
        trace_id=0x5B8AA5A2D2C872E8321CF37308D69DF2,
        span_id=0x5FB397BE34D26B51,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(span))


def views():
    return [
        View(
            instrument_name="latency",
            aggregation=ExplicitBucketHistogramAggregation(boundaries=[0.5, 5.0]),
            attribute_keys={"http.method"},
        ),
        View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation()),
        View(instrument_name="pause", aggregation=ExponentialBucketHistogramAggregation()),
    ]


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
    reader = PeriodicExportingMetricReader(
        recording(exporter, results), export_interval_millis=3_600_000
    )
    provider = MeterProvider(
        resource=resource,
        metric_readers=[reader],
        views=views(),
        exemplar_filter=TraceBasedExemplarFilter(),
    )
    meter = provider.get_meter("test")
    requests = meter.create_counter("requests", unit="{request}", description="Requests.")
    queue = meter.create_up_down_counter("queue.length")
    meter.create_observable_gauge("cpu.load", [lambda _: [Observation(0.25, GET)]], unit="1")
    latency = meter.create_histogram("latency", unit="s")
    size = meter.create_histogram("size", unit="By")
    pause = meter.create_histogram("pause", unit="s")

    requests.add(3, GET)
    queue.add(4, GET)
    latency.record(0.25, GET)
    for sent in (1, 100, 0):
        size.record(sent, GET)
    # Alone it has buckets as narrow as there are: 2^20 to each doubling.
    pause.record(2.5, GET)
    assert provider.force_flush(30_000), way

    requests.add(4, GET)
    queue.add(-7, GET)
    latency.record(1.0, GET | {"user": "u1"}, context=traced())
    latency.record(7.0, GET)
    for sent in range(1, 97):
        size.record(sent, GET, context=traced())
    assert provider.force_flush(30_000), way
    provider.shutdown()
    assert len(results) >= 2 and set(results) == {MetricExportResult.SUCCESS}, (way, results)


url = sys.argv[1]
send(
    "http",
    HttpExporter(endpoint=f"{url}/api/v1/otlp/v1/metrics", compression=Compression.Gzip),
)
send("grpc", GrpcExporter(endpoint=url, insecure=True))
print("all exported")
