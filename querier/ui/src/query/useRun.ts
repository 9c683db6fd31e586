import { useEffect, useRef, useState } from "react";

import { ask, type Answer, type ApiError, type Params } from "../api/client";
import { asApiError, wasAborted } from "../api/useResource";

export interface Run<T> {
  answer: Answer<T> | null;
  /** What the answer is for. */
  params: Params | null;
  error: ApiError | null;
  isRunning: boolean;
  /** Milliseconds from the question to the answer. */
  took: number;
}

const IDLE = { answer: null, params: null, error: null, isRunning: false, took: 0 };

/**
 * Asks whenever the parameters or the number of runs change; `null` asks nothing. What is under
 * way is given up then.
 */
export function useRun<T>(path: string, params: Params | null, runs: number): Run<T> {
  const key = params === null ? null : JSON.stringify(params);
  const latest = useRef(params);
  latest.current = params;
  const [run, setRun] = useState<Run<T>>(IDLE);

  useEffect(() => {
    const params = latest.current;
    if (key === null || params === null) {
      setRun(IDLE);
      return undefined;
    }
    const abort = new AbortController();
    const began = performance.now();
    const took = () => performance.now() - began;
    setRun((run) => ({ ...run, isRunning: true }));
    ask<T>(path, params, abort.signal).then(
      (answer) => setRun({ answer, params, error: null, isRunning: false, took: took() }),
      (error: unknown) => {
        if (wasAborted(error)) return;
        setRun({ ...IDLE, params, error: asApiError(error), took: took() });
      },
    );
    return () => abort.abort();
  }, [key, path, runs]);

  return run;
}
