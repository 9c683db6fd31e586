import type { ExprNode } from "../api/types";
import { Badge } from "../components/Badge";
import { treeOf, type TreeLine } from "../lib/tree";
import { Notice } from "../components/Notice";
import { useRun } from "./useRun";

/** An expression's syntax tree. */
export default function TreeView({ expr }: { expr: string }) {
  const run = useRun<ExprNode>("parse_query", { query: expr }, 0);
  return (
    <div className="card-body">
      {run.error && <Notice tone="bad">{run.error.message}</Notice>}
      {run.answer && (
        <ul className="tree">
          <Branch line={treeOf(run.answer.data)} />
        </ul>
      )}
    </div>
  );
}

function Branch({ line }: { line: TreeLine }) {
  return (
    <li>
      <span className="row">
        <code>{line.text}</code>
        <Badge>{line.kind}</Badge>
      </span>
      {line.children.length > 0 && (
        <ul>
          {line.children.map((child, at) => (
            <Branch line={child} key={at} />
          ))}
        </ul>
      )}
    </li>
  );
}
