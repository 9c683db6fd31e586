// An expression's syntax tree as lines for people.

import type { ExprNode } from "../api/types";
import { formatDuration } from "./duration";

export interface TreeLine {
  /** What stands at the node. */
  text: string;
  kind: string;
  children: TreeLine[];
}

type Selector = Extract<ExprNode, { type: "vectorSelector" | "matrixSelector" }>;

function selectorText(node: Selector): string {
  const matchers = node.matchers
    .filter(({ name, type }) => !(name === "__name__" && type === "=" && node.name !== ""))
    .map(({ name, type, value }) => `${name}${type}${JSON.stringify(value)}`);
  const braces = matchers.length > 0 || node.name === "" ? `{${matchers.join(", ")}}` : "";
  const range = node.type === "matrixSelector" ? `[${formatDuration(node.range)}]` : "";
  const at = node.startOrEnd !== null ? ` @ ${node.startOrEnd}()` : "";
  const fixed = node.timestamp !== null ? ` @ ${node.timestamp / 1000}` : "";
  const sign = node.offset < 0 ? "-" : "";
  const offset = node.offset !== 0 ? ` offset ${sign}${formatDuration(Math.abs(node.offset))}` : "";
  return node.name + braces + range + at + fixed + offset;
}

function binaryText(node: Extract<ExprNode, { type: "binaryExpr" }>): string {
  const { matching } = node;
  const bool = node.bool ? " bool" : "";
  if (matching === null) return node.op + bool;
  const labels = matching.labels.join(", ");
  const on = matching.on || labels !== "" ? ` ${matching.on ? "on" : "ignoring"}(${labels})` : "";
  const groups: Record<string, string> = {
    "many-to-one": ` group_left(${matching.include.join(", ")})`,
    "one-to-many": ` group_right(${matching.include.join(", ")})`,
  };
  return node.op + bool + on + (groups[matching.card] ?? "");
}

function aggregationText(node: Extract<ExprNode, { type: "aggregation" }>): string {
  if (!node.without && node.grouping.length === 0) return node.op;
  return `${node.op} ${node.without ? "without" : "by"}(${node.grouping.join(", ")})`;
}

export function treeOf(node: ExprNode): TreeLine {
  switch (node.type) {
    case "numberLiteral":
      return { text: node.val, kind: "number", children: [] };
    case "stringLiteral":
      return { text: JSON.stringify(node.val), kind: "string", children: [] };
    case "vectorSelector":
      return { text: selectorText(node), kind: "instant selector", children: [] };
    case "matrixSelector":
      return { text: selectorText(node), kind: "range selector", children: [] };
    case "subquery": {
      const step = node.step > 0 ? formatDuration(node.step) : "";
      const text = `[${formatDuration(node.range)}:${step}]`;
      return { text, kind: "subquery", children: [treeOf(node.expr)] };
    }
    case "unaryExpr":
      return { text: node.op, kind: "unary operator", children: [treeOf(node.expr)] };
    case "parenExpr":
      return treeOf(node.expr);
    case "aggregation": {
      const params = node.param === null ? [] : [treeOf(node.param)];
      const children = [...params, treeOf(node.expr)];
      return { text: aggregationText(node), kind: "aggregation", children };
    }
    case "call":
      return { text: `${node.func.name}()`, kind: "function", children: node.args.map(treeOf) };
    case "binaryExpr": {
      const children = [treeOf(node.lhs), treeOf(node.rhs)];
      return { text: binaryText(node), kind: "binary operator", children };
    }
  }
}

/** Names of all functions and aggregations in the tree, once each. */
export function namesIn(node: ExprNode, found = new Set<string>()): Set<string> {
  if (node.type === "call") {
    found.add(node.func.name);
    node.args.forEach((arg) => namesIn(arg, found));
  } else if (node.type === "binaryExpr") {
    namesIn(node.lhs, found);
    namesIn(node.rhs, found);
  } else if ("expr" in node) {
    if (node.type === "aggregation") {
      found.add(node.op);
      if (node.param) namesIn(node.param, found);
    }
    namesIn(node.expr, found);
  }
  return found;
}
