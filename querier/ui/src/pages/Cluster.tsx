import type { ReactNode } from "react";

import type { ClusterNode, ClusterStatus, Epoch, Group, Moves, Replica } from "../api/types";
import { useResource } from "../api/useResource";
import { Badge } from "../components/Badge";
import { Facts } from "../components/Facts";
import { Fold } from "../components/Fold";
import { Empty, Loaded } from "../components/Loaded";
import { Notice } from "../components/Notice";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { grouped } from "../lib/numbers";
import { formatTime, isNever } from "../lib/time";

const REFRESH = 2000;

/** A follower that lacks more entries than these is shown as behind. */
const LAG_SHOWN = 1000;

/** Who is there, who leads, who lags, and what is moved. */
export default function ClusterPage() {
  const status = useResource<ClusterStatus>("status/cluster", {}, REFRESH);
  return (
    <Page title="Cluster">
      <Loaded of={status}>
        {(status) =>
          status.clusterId === "" ? (
            <Empty>No cluster is known to this process yet.</Empty>
          ) : (
            <Overview status={status} />
          )
        }
      </Loaded>
    </Page>
  );
}

function Overview({ status }: { status: ClusterStatus }) {
  const { problem, inactiveSections } = status.config;
  const leaderless = status.shards.filter(({ leader }) => leader === 0);
  return (
    <>
      {leaderless.length > 0 && (
        <Notice tone="bad">
          No leader is known of shard {leaderless.map(({ id }) => id).join(", ")}: what it holds is
          neither read nor written.
        </Notice>
      )}
      {problem !== "" && <Notice tone="bad">The configuration was not changed: {problem}</Notice>}
      {inactiveSections.length > 0 && (
        <Notice tone="warn">Sections of the configuration without effect: {inactiveSections.join(", ")}</Notice>
      )}
      <div className="row dim">
        <code>{status.clusterId}</code>
        <span>revision {grouped(status.revision)}</span>
        <span>{status.replicationFactor} replicas of each shard</span>
      </div>
      <div className="cards">
        {status.nodes.map((node) => (
          <NodeCard node={node} status={status} key={node.id} />
        ))}
      </div>
      <Shards status={status} />
      <Ring ring={status.ring} />
      <MovesView moves={status.moves} nodes={status.nodes} />
    </>
  );
}

function NodeCard({ node, status }: { node: ClusterNode; status: ClusterStatus }) {
  const held = status.shards.filter(({ replicas }) => replicas.some((replica) => replica.node === node.id));
  const led = status.shards.filter(({ leader }) => leader === node.id);
  const facts: [string, ReactNode][] = [
    ["Zone", node.zone === "" ? "none" : node.zone],
    ["Cluster address", node.address],
    ["Web address", node.webAddress === "" ? "none" : node.webAddress],
    ["Version", node.version],
    ["Shards", `${held.length}, leads ${led.length}`],
    ["Series led", grouped(led.reduce((sum, { activeSeries }) => sum + activeSeries, 0))],
  ];
  return (
    <section className={`card ${node.reachable ? "" : "node-bad"}`}>
      <div className="card-head">
        <h2>{node.name}</h2>
        <span className="dim">node {node.id}</span>
        <span className="grow" />
        {status.control.leader === node.id && <Badge>control leader</Badge>}
        {node.state === "draining" && <Badge tone="warn">draining</Badge>}
        <Badge tone={node.reachable ? "good" : "bad"}>{node.reachable ? "answers" : "silent"}</Badge>
      </div>
      <div className="card-body stack">
        <Facts of={facts} />
        {node.error !== "" && <div className="failure">{node.error}</div>}
        {node.diskProblem !== "" && <div className="failure">{node.diskProblem}</div>}
      </div>
    </section>
  );
}

function Shards({ status }: { status: ClusterStatus }) {
  const current = status.ring.find((epoch) => epoch.current);
  const shareOf = (shard: number) => current?.shares.find((it) => it.shard === shard)?.share;
  return (
    <section className="card">
      <div className="card-head">
        <h2>Shards</h2>
      </div>
      <Scroll label="Shards">
        <table className="table rows">
          <thead>
            <tr>
              <th>Group</th>
              <th>Leader</th>
              <th className="num">Series</th>
              <th className="num">Of all keys</th>
              <th className="num">Term</th>
              <th className="num">Commit index</th>
              <th>Replicas and their lag in entries</th>
            </tr>
          </thead>
          <tbody>
            <GroupRow name="control" group={status.control} nodes={status.nodes} />
            {status.shards.map((shard) => (
              <GroupRow
                name={`shard ${shard.id}`}
                group={shard}
                nodes={status.nodes}
                share={shareOf(shard.id)}
                series={shard.activeSeries}
                key={shard.id}
              />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

interface GroupRowProps {
  name: string;
  group: Group;
  nodes: ClusterNode[];
  share?: number | undefined;
  series?: number;
}

function nameOf(nodes: ClusterNode[], id: number | null): string {
  return nodes.find((node) => node.id === id)?.name ?? `node ${id}`;
}

function GroupRow({ name, group, nodes, share, series }: GroupRowProps) {
  return (
    <tr>
      <td>{name}</td>
      <td data-label="led by">
        {group.leader === 0 ? <Badge tone="bad">none</Badge> : nameOf(nodes, group.leader)}
      </td>
      <td className="num" data-label="series">
        {series !== undefined && grouped(series)}
      </td>
      <td className="num" data-label="of all keys">
        {share !== undefined && percent(share)}
      </td>
      <td className="num" data-label="term">
        {grouped(group.term)}
      </td>
      <td className="num" data-label="commit index">
        {grouped(group.commitIndex)}
      </td>
      <td>
        <div className="row">
          {group.replicas.map((replica) => (
            <ReplicaLag replica={replica} name={nameOf(nodes, replica.node)} key={replica.node} />
          ))}
        </div>
      </td>
    </tr>
  );
}

function ReplicaLag({ replica, name }: { replica: Replica; name: string }) {
  const { lagEntries, appliedIndex } = replica;
  if (appliedIndex === null) return <Badge tone="bad">{name} silent</Badge>;
  if (lagEntries === null) return <Badge tone="warn">{name} ?</Badge>;
  return (
    <Badge tone={lagEntries > LAG_SHOWN ? "warn" : "good"}>
      {name} {grouped(lagEntries)}
    </Badge>
  );
}

function Ring({ ring }: { ring: Epoch[] }) {
  const { isLocalTime } = useSettings();
  return (
    <Fold title="Ring" isOpenAtFirst={ring.length > 1} aside={<span className="dim">{ring.length === 1 ? "one epoch" : `${ring.length} epochs`}</span>}>
      <Scroll label="Epochs of the ring">
        <table className="table">
          <thead>
            <tr>
              <th>Samples from</th>
              <th className="num">Shards</th>
              <th className="num">Smallest share</th>
              <th className="num">Largest share</th>
            </tr>
          </thead>
          <tbody>
            {ring.map((epoch) => (
              <tr key={epoch.begins}>
                <td>
                  {isNever(epoch.begins) ? "the beginning" : formatTime(Date.parse(epoch.begins), isLocalTime)}{" "}
                  {epoch.current && <Badge tone="good">current</Badge>}
                </td>
                <td className="num">{epoch.shares.length}</td>
                <td className="num">{percent(Math.min(...epoch.shares.map(({ share }) => share)))}</td>
                <td className="num">{percent(Math.max(...epoch.shares.map(({ share }) => share)))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </Fold>
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function MovesView({ moves, nodes }: { moves: Moves; nodes: ClusterNode[] }) {
  const { isLocalTime } = useSettings();
  return (
    <section className="card">
      <div className="card-head">
        <h2>Moves</h2>
        <span className="grow" />
        <span className="dim">{moves.error === "" ? moves.state : ""}</span>
      </div>
      <div className="card-body stack">
        {moves.error !== "" && <Notice tone="warn">What was decided is not known: {moves.error}</Notice>}
        {moves.underWay.map((move) => (
          <div className="row" key={move.shard}>
            <Badge tone="warn">under way</Badge>
            shard {move.shard}
            {move.add !== null && `, to ${nameOf(nodes, move.add)}`}
            {move.remove !== null && `, off ${nameOf(nodes, move.remove)}`}
          </div>
        ))}
        {moves.underWay.length === 0 && <span className="dim">No replica is moved.</span>}
      </div>
      {moves.decided.length > 0 && (
        <Scroll label="Moves that were decided">
          <table className="table">
            <thead>
              <tr>
                <th>When</th>
                <th>What</th>
                <th>Why</th>
              </tr>
            </thead>
            <tbody>
              {moves.decided.map((move, at) => (
                <tr key={at}>
                  <td className="when">{formatTime(Date.parse(move.time), isLocalTime)}</td>
                  <td className="wide">{move.what}</td>
                  <td className="wide">{move.why}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </section>
  );
}
