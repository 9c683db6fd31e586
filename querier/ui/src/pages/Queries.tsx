import { Button } from "@mantine/core";
import { useState } from "react";

import { command } from "../api/client";
import type { ActiveQuery } from "../api/types";
import { asApiError, useResource } from "../api/useResource";
import { Badge } from "../components/Badge";
import { Empty, Loaded } from "../components/Loaded";
import { Notice } from "../components/Notice";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { formatDuration, formatSeconds } from "../lib/duration";
import { formatTime } from "../lib/time";

const REFRESH = 1000;

/** Queries under way in the process that answers, and the end of them. */
export default function QueriesPage() {
  const queries = useResource<{ queries: ActiveQuery[] }>("status/queries", {}, REFRESH);
  const [problem, setProblem] = useState("");
  const kill = async (id: number) => {
    setProblem("");
    try {
      await command("admin/queries/kill", { id });
    } catch (error) {
      setProblem(asApiError(error).message);
    }
    queries.reload();
  };
  return (
    <Page title="Active queries">
      {problem !== "" && <Notice tone="bad">{problem}</Notice>}
      <Loaded of={queries}>
        {({ queries }) =>
          queries.length === 0 ? (
            <Empty>No query is under way in this process.</Empty>
          ) : (
            <QueriesTable queries={queries} onKill={kill} />
          )
        }
      </Loaded>
    </Page>
  );
}

interface QueriesTableProps {
  queries: ActiveQuery[];
  onKill: (id: number) => Promise<void>;
}

function QueriesTable({ queries, onKill }: QueriesTableProps) {
  return (
    <div className="card">
      <Scroll label="Queries under way">
        <table className="table rows">
          <thead>
            <tr>
              <th>Query</th>
              <th>Asked by</th>
              <th>State</th>
              <th className="num">For</th>
              <th>
                <span className="hidden-title">End it</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {queries.map((query) => (
              <tr key={query.id}>
                <td className="wide">
                  <code>{query.query}</code>
                  <Steps query={query} />
                </td>
                <td data-label="by">{query.user}</td>
                <td>
                  <Badge tone={query.state === "running" ? "good" : "warn"}>{query.state}</Badge>
                </td>
                <td className="num" data-label="for">
                  {formatSeconds(query.seconds)}
                </td>
                <td className="num">
                  <Button
                    size="compact-xs"
                    color="red.9"
                    aria-label={`Kill query ${query.id}`}
                    onClick={() => void onKill(query.id)}
                  >
                    Kill
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </div>
  );
}

function Steps({ query }: { query: ActiveQuery }) {
  const { isLocalTime } = useSettings();
  const { start, end, step = 0 } = query;
  if (start === undefined || end === undefined) return null;
  return (
    <div className="dim">
      {formatTime(start * 1000, isLocalTime)}
      {step > 0 && ` to ${formatTime(end * 1000, isLocalTime)} every ${formatDuration(step * 1000)}`}
    </div>
  );
}
