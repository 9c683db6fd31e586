import { lazy, type ComponentType } from "react";

import { QueryPage } from "../query/QueryPage";

export interface Route {
  path: string;
  title: string;
  /** The key that opens it after `g`. */
  letter: string;
  /** Whether it stands in the bar, or in the menu beside it. */
  isMain: boolean;
  page: ComponentType;
}

/** The pages in order. The server knows their paths, too (`querier/src/page.rs`). */
export const ROUTES: readonly Route[] = [
  { path: "/query", title: "Query", letter: "q", isMain: true, page: QueryPage },
  { path: "/tail", title: "Live tail", letter: "l", isMain: true, page: lazy(() => import("./Tail")) },
  { path: "/alerts", title: "Alerts", letter: "a", isMain: true, page: lazy(() => import("./Alerts")) },
  { path: "/rules", title: "Rules", letter: "r", isMain: true, page: lazy(() => import("./Rules")) },
  { path: "/targets", title: "Targets", letter: "t", isMain: true, page: lazy(() => import("./Targets")) },
  { path: "/cluster", title: "Cluster", letter: "c", isMain: true, page: lazy(() => import("./Cluster")) },
  { path: "/service-discovery", title: "Service discovery", letter: "s", isMain: false, page: lazy(() => import("./Discovery")) },
  { path: "/tsdb-status", title: "TSDB status", letter: "d", isMain: false, page: lazy(() => import("./Tsdb")) },
  { path: "/active-queries", title: "Active queries", letter: "k", isMain: false, page: lazy(() => import("./Queries")) },
  { path: "/status", title: "Runtime and build", letter: "i", isMain: false, page: lazy(() => import("./Status")) },
  { path: "/flags", title: "Flags", letter: "f", isMain: false, page: lazy(() => import("./Flags")) },
  { path: "/config", title: "Configuration", letter: "o", isMain: false, page: lazy(() => import("./Config")) },
];
