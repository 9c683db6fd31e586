import { Button, Loader } from "@mantine/core";
import type { ReactNode } from "react";

import type { Resource } from "../api/useResource";
import { Notice } from "./Notice";

interface LoadedProps<T> {
  of: Resource<T>;
  /** What a process that does not serve this lacks: said where it answers 404. */
  absent?: string;
  children: (data: T) => ReactNode;
}

/** A page's content once it is there; until then, or instead, why it is not. */
export function Loaded<T>({ of, absent, children }: LoadedProps<T>) {
  const { answer, error, isLoading, reload } = of;
  if (error?.code === 404 && absent !== undefined) return <Empty>{absent}</Empty>;
  return (
    <>
      {error && (
        <Notice tone="bad">
          <div className="row">
            <span className="grow">{error.message}</span>
            <Button size="compact-sm" variant="default" onClick={reload} loading={isLoading}>
              Try again
            </Button>
          </div>
        </Notice>
      )}
      {answer?.warnings.map((warning) => (
        <Notice tone="warn" key={warning}>
          {warning}
        </Notice>
      ))}
      {answer && children(answer.data)}
      {!answer && !error && (
        <div className="empty">
          <Loader size="sm" aria-label="Loading" />
        </div>
      )}
    </>
  );
}

/** Said where there is nothing to show. */
export function Empty({ children }: { children: ReactNode }) {
  return <div className="card empty">{children}</div>;
}
