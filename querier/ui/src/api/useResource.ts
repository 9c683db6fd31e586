import { useCallback, useEffect, useRef, useState } from "react";

import { ApiError, get, type Answer, type Params } from "./client";

export interface Resource<T> {
  /** What was answered last, also while it is asked again or after that failed. */
  answer: Answer<T> | null;
  error: ApiError | null;
  isLoading: boolean;
  reload: () => void;
}

export function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(String(error), 0, "");
}

export function wasAborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * Asks for something now, whenever its parameters change and, if told, every so many milliseconds
 * after an answer, as long as somebody looks at the page.
 */
export function useResource<T>(path: string, params: Params = {}, every?: number): Resource<T> {
  const key = JSON.stringify([path, params]);
  const latest = useRef(params);
  latest.current = params;
  const [answer, setAnswer] = useState<Answer<T> | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const [isLoading, setLoading] = useState(true);
  const [turn, setTurn] = useState(0);
  const reload = useCallback(() => setTurn((turn) => turn + 1), []);

  useEffect(() => setAnswer(null), [key]);

  useEffect(() => {
    const abort = new AbortController();
    let timer: number | undefined;
    const look = async () => {
      if (document.hidden && every !== undefined) {
        timer = window.setTimeout(look, every);
        return;
      }
      setLoading(true);
      try {
        setAnswer(await get<T>(path, latest.current, abort.signal));
        setError(null);
      } catch (error) {
        if (wasAborted(error)) return;
        setError(asApiError(error));
      }
      setLoading(false);
      if (every !== undefined) timer = window.setTimeout(look, every);
    };
    void look();
    return () => {
      abort.abort();
      window.clearTimeout(timer);
    };
  }, [key, path, every, turn]);

  return { answer, error, isLoading, reload };
}
