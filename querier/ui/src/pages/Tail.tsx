import { Button } from "@mantine/core";
import { lazy, Suspense, useEffect, useRef, useState, type FormEvent } from "react";
import { useLocation, useSearch } from "wouter";

import { ApiError, ask } from "../api/client";
import type { ExprNode, MatrixSeries, QueryData } from "../api/types";
import { asApiError, wasAborted } from "../api/useResource";
import { Empty } from "../components/Loaded";
import { Notice } from "../components/Notice";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { useSettings } from "../components/settings";
import { FOCUSED_BY_SLASH } from "../components/Shortcuts";
import { extend, NO_TAIL, type TailState } from "../lib/tail";
import { formatTime } from "../lib/time";

const TailChart = lazy(() => import("./TailChart"));

/** Pause between two looks, in milliseconds. */
const LOOK = 1000;
/** What the first look shows, and each one after it. */
const FIRST = "5m";
const NEXT = "30s";

/** New samples of series, as they come. */
export default function TailPage() {
  const expr = new URLSearchParams(useSearch()).get("expr") ?? "";
  const [, go] = useLocation();
  const [draft, setDraft] = useState(expr);
  const [isPaused, setPaused] = useState(false);
  useEffect(() => setDraft(expr), [expr]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setPaused(false);
    go(`/tail?${new URLSearchParams({ expr: draft })}`);
  };
  return (
    <Page title="Live tail">
      <form className="row" onSubmit={submit}>
        <input
          className="tail-input mono"
          aria-label="Selector of series"
          placeholder='Selector of series, such as up{job="node"}'
          spellCheck={false}
          value={draft}
          onChange={(event) => setDraft(event.currentTarget.value)}
          {...{ [FOCUSED_BY_SLASH]: true }}
        />
        <Button type="submit">Watch</Button>
        <Button variant="default" aria-pressed={isPaused} disabled={expr === ""} onClick={() => setPaused(!isPaused)}>
          {isPaused ? "Go on" : "Pause"}
        </Button>
      </form>
      {expr === "" ? <Empty>Name the series to watch.</Empty> : <Tail expr={expr} isPaused={isPaused} key={expr} />}
    </Page>
  );
}

async function look(expr: string, range: string, signal: AbortSignal): Promise<MatrixSeries[]> {
  const { data } = await ask<QueryData>("query", { query: `${expr}[${range}]` }, signal);
  return data.resultType === "matrix" ? data.result : [];
}

/** Whether it only selects: samples of what is computed come at no time of their own. */
async function check(expr: string, signal: AbortSignal): Promise<void> {
  const { data } = await ask<ExprNode>("parse_query", { query: expr }, signal);
  if (data.type !== "vectorSelector") throw new ApiError("Only a selector of series can be watched.", 0, "");
}

function useTail(expr: string, isPaused: boolean) {
  const [tail, setTail] = useState<TailState>(NO_TAIL);
  const [error, setError] = useState<ApiError | null>(null);
  const [isFirst, setFirst] = useState(true);
  const hasLooked = useRef(false);
  useEffect(() => {
    if (isPaused) return undefined;
    const abort = new AbortController();
    let timer: number | undefined;
    const turn = async () => {
      try {
        if (!hasLooked.current) await check(expr, abort.signal);
        const found = await look(expr, hasLooked.current ? NEXT : FIRST, abort.signal);
        hasLooked.current = true;
        setTail((tail) => extend(tail, found));
        setError(null);
      } catch (error) {
        if (wasAborted(error)) return;
        setError(asApiError(error));
      }
      setFirst(false);
      timer = window.setTimeout(turn, LOOK);
    };
    void turn();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [expr, isPaused]);
  return { tail, error, isFirst };
}

function Tail({ expr, isPaused }: { expr: string; isPaused: boolean }) {
  const { isLocalTime } = useSettings();
  const { tail, error, isFirst } = useTail(expr, isPaused);
  return (
    <>
      {error && <Notice tone="bad">{error.message}</Notice>}
      {tail.samples.length === 0 && !error && (
        <Empty>{isFirst ? "Looking…" : `No sample came within ${FIRST}. What comes will be shown.`}</Empty>
      )}
      {tail.samples.length > 0 && (
        <>
          <section className="card" aria-label="Chart">
            <Suspense fallback={<div className="empty">Loading…</div>}>
              <TailChart samples={tail.samples} />
            </Suspense>
          </section>
          <section className="card">
            <Scroll label="Samples, the newest first">
              <table className="table rows">
                <thead>
                  <tr>
                    <th>Time</th>
                    <th>Series</th>
                    <th className="num">Value</th>
                  </tr>
                </thead>
                <tbody>
                  {tail.samples.slice(0, 200).map(({ series, time, text }) => (
                    <tr key={`${time} ${series}`}>
                      <td className="when">{formatTime(time * 1000, isLocalTime)}</td>
                      <td className="wide labels">{series}</td>
                      <td className="num mono">{text}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
          </section>
        </>
      )}
    </>
  );
}
