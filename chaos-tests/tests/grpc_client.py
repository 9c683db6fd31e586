"""Asks a cluster through clients that grpcio-tools generates from the published .proto files.

Usage: grpc_client.py HOST:PORT PROTO_FOLDER INSTANCE...
The instances are those of job "page", each with up == 1.
"""

import sys
import tempfile
import time

import grpc
import grpc_tools.protoc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

ADDRESS, PROTO, INSTANCES = sys.argv[1], sys.argv[2], sorted(sys.argv[3:])
# Seconds for one call.
DEADLINE = 20


def generate(folder):
    names = ["narthex/v1/query.proto", "narthex/v1/cluster.proto"]
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert grpc_tools.protoc.main(arguments + names) == 0, "protoc failed"
    sys.path.insert(0, folder)


def labels(message):
    return {label.name: label.value for label in message.labels}


def ask_queries(channel, query, query_grpc):
    stub = query_grpc.QueryStub(channel)
    answer = stub.Instant(query.InstantRequest(query='up{job="page"}'), timeout=DEADLINE)
    found = {labels(sample)["instance"]: sample.float for sample in answer.vector.samples}
    assert found == dict.fromkeys(INSTANCES, 1.0), found
    scalar = stub.Instant(query.InstantRequest(query="1 + 2", time_ms=5000), timeout=DEADLINE)
    assert (scalar.scalar.timestamp_ms, scalar.scalar.value) == (5000, 3.0), scalar
    text = stub.Instant(query.InstantRequest(query='"a"'), timeout=DEADLINE)
    assert text.string.value == "a", text
    matrix = stub.Instant(query.InstantRequest(query='up{job="page"}[1m]'), timeout=DEADLINE)
    assert len(matrix.matrix.series) == len(INSTANCES), matrix
    print("instant")

    now = int(time.time()) * 1000
    request = query.RangeRequest(
        query='sum by (instance) (up{job="page"})', start_ms=now - 5000, end_ms=now, step_ms=1000
    )
    messages = list(stub.Range(request, timeout=DEADLINE))
    series = [one for message in messages for one in message.series]
    assert [labels(one)["instance"] for one in series] == INSTANCES, series
    for one in series:
        assert one.timestamps_ms[-1] == now and set(one.values) == {1.0}, one
        assert len(one.timestamps_ms) == len(one.values), one
    print(f"range, in {len(messages)} messages")

    among = query.FindRequest(matches=['up{job="page"}'])
    found = [one for message in stub.FindSeries(among, timeout=DEADLINE) for one in message.series]
    assert [labels(one)["instance"] for one in found] == INSTANCES, found
    request = query.LabelValuesRequest(name="instance", among=among)
    assert list(stub.LabelValues(request, timeout=DEADLINE).names) == INSTANCES
    assert "instance" in stub.LabelNames(among, timeout=DEADLINE).names
    stub.Metadata(query.MetadataRequest(), timeout=DEADLINE)
    print("names")

    try:
        stub.Instant(query.InstantRequest(query="up{"), timeout=DEADLINE)
        raise AssertionError("a broken expression was answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        assert "parse error" in error.details(), error.details()
    print("refusal")


def ask_cluster(channel, cluster, cluster_grpc):
    stub = cluster_grpc.ClusterStub(channel)
    members = stub.Members(cluster.MembersRequest(), timeout=DEADLINE)
    assert [member.name for member in members.members] == ["n1", "n2", "n3"], members
    assert all(member.reachable for member in members.members), members
    ids = {member.node_id for member in members.members}
    shards = stub.Shards(cluster.ShardsRequest(), timeout=DEADLINE)
    assert len(shards.shards) == 6 and shards.replication_factor == 3, shards
    for shard in shards.shards:
        assert shard.leader_node_id in ids, shard
        assert {replica.node_id for replica in shard.replicas} == ids, shard
    config = stub.Config(cluster.ConfigRequest(), timeout=DEADLINE)
    assert not config.inactive_sections and not config.problem and config.loaded_ms > 0, config
    print("members, shards and configuration")

    watch = stub.Watch(cluster.WatchRequest(), timeout=DEADLINE)
    first, second = next(watch), next(watch)
    watch.cancel()
    assert first.members.cluster_id == second.members.cluster_id == members.cluster_id
    commits = [sum(shard.commit_index for shard in it.shards.shards) for it in (first, second)]
    assert commits[0] < commits[1], commits
    print("watch")


def ask_about_the_server(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ["", "narthex.v1.Query", "narthex.v1.Cluster"]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, (name, answer)
    print("health")

    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {"narthex.v1.Query", "narthex.v1.Cluster", "grpc.health.v1.Health"} <= names, names
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("narthex.v1.Query")
    assert {method.name for method in service.methods} >= {"Instant", "Range", "FindSeries"}
    print("reflection")


def main():
    with tempfile.TemporaryDirectory() as folder, grpc.insecure_channel(ADDRESS) as channel:
        generate(folder)
        from narthex.v1 import cluster_pb2, cluster_pb2_grpc, query_pb2, query_pb2_grpc

        ask_queries(channel, query_pb2, query_pb2_grpc)
        ask_cluster(channel, cluster_pb2, cluster_pb2_grpc)
        ask_about_the_server(channel)
    print("all answered")


main()
