import { SegmentedControl, Switch } from "@mantine/core";
import { useState } from "react";
import { Link } from "wouter";

import type { Alert, AlertingRule, AlertState, RuleGroup } from "../api/types";
import { useResource } from "../api/useResource";
import { Badge, type Tone } from "../components/Badge";
import { Facts } from "../components/Facts";
import { Fold } from "../components/Fold";
import { LabelChips } from "../components/Labels";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { Search } from "../components/Search";
import { useNow } from "../components/useNow";
import { formatDuration } from "../lib/duration";
import { formatSeries, matches } from "../lib/labels";
import { encodePanels, newPanel } from "../lib/panels";
import { ago } from "../lib/time";

const REFRESH = 5000;

const TONES: Readonly<Record<AlertState, Tone>> = { firing: "bad", pending: "warn", inactive: "good" };
const STATES: readonly AlertState[] = ["firing", "pending", "inactive"];

type Which = AlertState | "all";

export default function AlertsPage() {
  const [search, setSearch] = useState("");
  const [which, setWhich] = useState<Which>("all");
  const [hasAnnotations, setAnnotations] = useState(false);
  const rules = useResource<{ groups: RuleGroup[] }>("rules", { type: "alert" }, REFRESH);
  const tools = (
    <>
      <Switch
        size="xs"
        label="Annotations"
        checked={hasAnnotations}
        onChange={(event) => setAnnotations(event.currentTarget.checked)}
      />
      <SegmentedControl
        size="xs"
        aria-label="State"
        value={which}
        onChange={setWhich}
        data={["all", ...STATES].map((state) => ({ value: state as Which, label: state }))}
      />
      <Search label="Search alerts" value={search} onChange={setSearch} />
    </>
  );
  const isShown = (rule: AlertingRule) =>
    (which === "all" || rule.state === which) &&
    matches(search, rule.name, ...rule.alerts.map(({ labels }) => formatSeries(labels)));
  return (
    <Page title="Alerts" tools={tools}>
      <Loaded of={rules} absent="This process evaluates no rules, so it has no alerts.">
        {({ groups }) => <AlertRules rules={alerting(groups)} isShown={isShown} hasAnnotations={hasAnnotations} />}
      </Loaded>
    </Page>
  );
}

interface Placed {
  key: string;
  group: RuleGroup;
  rule: AlertingRule;
}

/** Those that fire come first. */
function alerting(groups: RuleGroup[]): Placed[] {
  const placed = groups.flatMap((group) =>
    group.rules.flatMap((rule, at) =>
      rule.type === "alerting" ? [{ key: `${group.file};${group.name};${at}`, group, rule }] : [],
    ),
  );
  return placed.sort((a, b) => STATES.indexOf(a.rule.state) - STATES.indexOf(b.rule.state));
}

interface AlertRulesProps {
  rules: Placed[];
  isShown: (rule: AlertingRule) => boolean;
  hasAnnotations: boolean;
}

function AlertRules({ rules, isShown, hasAnnotations }: AlertRulesProps) {
  if (rules.length === 0) return <Empty>There are no alerting rules.</Empty>;
  const shown = rules.filter(({ rule }) => isShown(rule));
  const count = (state: AlertState) => rules.filter(({ rule }) => rule.state === state).length;
  return (
    <>
      <div className="row">
        {STATES.map((state) => (
          <Badge tone={count(state) > 0 ? TONES[state] : "plain"} key={state}>
            {count(state)} {state}
          </Badge>
        ))}
      </div>
      {shown.length === 0 && <Empty>No alert fits.</Empty>}
      {shown.map(({ key, group, rule }) => (
        <Fold
          key={key}
          title={rule.name}
          isOpenAtFirst={rule.state !== "inactive"}
          aside={
            <>
              <span className="dim">{group.name}</span>
              {rule.alerts.length > 0 && <span className="dim">{rule.alerts.length} active</span>}
              <Badge tone={TONES[rule.state]}>{rule.state}</Badge>
            </>
          }
        >
          <RuleFacts rule={rule} />
          {rule.alerts.length > 0 && <AlertsTable rule={rule} hasAnnotations={hasAnnotations} />}
        </Fold>
      ))}
    </>
  );
}

function RuleFacts({ rule }: { rule: AlertingRule }) {
  return (
    <div className="card-body">
      <Link href={`/query?${encodePanels([{ ...newPanel(rule.query), tab: "graph" }])}`}>
        <code>{rule.query}</code>
      </Link>
      {rule.duration > 0 && <div className="dim">for {formatDuration(rule.duration * 1000)}</div>}
      {(rule.keepFiringFor ?? 0) > 0 && (
        <div className="dim">keeps firing for {formatDuration((rule.keepFiringFor ?? 0) * 1000)}</div>
      )}
      {rule.lastError && <div className="failure">{rule.lastError}</div>}
      <Facts of={Object.entries(rule.annotations ?? {})} />
    </div>
  );
}

function AlertsTable({ rule, hasAnnotations }: { rule: AlertingRule; hasAnnotations: boolean }) {
  const now = useNow();
  return (
    <Scroll label={`Active alerts of ${rule.name}`}>
      <table className="table rows">
        <thead>
          <tr>
            <th>Labels</th>
            <th>State</th>
            <th className="num">Active since</th>
            <th className="num">Value</th>
          </tr>
        </thead>
        <tbody>
          {rule.alerts.map((alert) => (
            <AlertRow alert={alert} now={now} hasAnnotations={hasAnnotations} key={formatSeries(alert.labels)} />
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function AlertRow({ alert, now, hasAnnotations }: { alert: Alert; now: number; hasAnnotations: boolean }) {
  return (
    <tr>
      <td className="wide">
        <LabelChips labels={alert.labels} />
        {hasAnnotations && <Facts of={Object.entries(alert.annotations)} />}
      </td>
      <td>
        <Badge tone={TONES[alert.state]}>{alert.state}</Badge>
        {alert.keepFiringSince && <div className="dim">kept since {ago(alert.keepFiringSince, now)}</div>}
      </td>
      <td className="num" data-label="active since">
        {ago(alert.activeAt ?? "", now)}
      </td>
      <td className="num mono" data-label="value">
        {alert.value}
      </td>
    </tr>
  );
}
