import { ActionIcon, Button, Menu } from "@mantine/core";
import { lazy, Suspense, useRef, useState, type Ref } from "react";

import { ask } from "../api/client";
import { asApiError } from "../api/useResource";
import { FOCUSED_BY_SLASH } from "../components/Shortcuts";
import { forgetAll, pastQueries } from "../lib/history";
import { MetricsExplorer } from "./MetricsExplorer";

const Editor = lazy(() => import("./Editor"));

export interface EditorHandle {
  /** Puts the cursor into the expression. */
  select: (offset: number) => void;
}

interface ExpressionInputProps {
  value: string;
  onChange: (value: string) => void;
  onRun: (expr: string) => void;
  onProblem: (problem: string) => void;
  isRunning: boolean;
  editor: Ref<EditorHandle>;
  tree: { isShown: boolean; toggle: () => void };
  onDuplicate: () => void;
  onRemove: () => void;
}

/** What an expression is typed in, until and after the editor is loaded. */
export function ExpressionInput(props: ExpressionInputProps) {
  const { value, onChange, onRun, isRunning, editor } = props;
  const hasFocus = useRef(false);
  const plain = (
    <textarea
      className="editor-plain"
      rows={1}
      aria-label="Expression"
      spellCheck={false}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      onFocus={() => (hasFocus.current = true)}
      onBlur={() => (hasFocus.current = false)}
      onKeyDown={(event) => {
        if (event.key !== "Enter" || event.shiftKey) return;
        event.preventDefault();
        onRun(value);
      }}
      {...{ [FOCUSED_BY_SLASH]: true }}
    />
  );
  return (
    <div className="editor-row">
      <div className="editor-box">
        <Suspense fallback={plain}>
          <Editor
            value={value}
            onChange={onChange}
            onRun={() => onRun(value)}
            handle={editor}
            hasFocusAtFirst={hasFocus.current}
          />
        </Suspense>
      </div>
      <HistoryMenu onChoose={onRun} />
      <PanelMenu {...props} />
      <Button onClick={() => onRun(value)} loading={isRunning}>
        Run
      </Button>
    </div>
  );
}

function HistoryMenu({ onChoose }: { onChoose: (expr: string) => void }) {
  const [past, setPast] = useState<string[]>([]);
  return (
    <Menu position="bottom-end" width={360} onOpen={() => setPast(pastQueries())}>
      <Menu.Target>
        <ActionIcon variant="default" size={36} aria-label="Expressions run before" title="Run before">
          ↺
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown mah={400} style={{ overflowY: "auto" }}>
        {past.length === 0 && <Menu.Label>Nothing was run before.</Menu.Label>}
        {past.map((expr) => (
          <Menu.Item key={expr} onClick={() => onChoose(expr)}>
            <code>{expr}</code>
          </Menu.Item>
        ))}
        {past.length > 0 && <Menu.Divider />}
        {past.length > 0 && <Menu.Item onClick={forgetAll}>Forget all</Menu.Item>}
      </Menu.Dropdown>
    </Menu>
  );
}

function PanelMenu(props: ExpressionInputProps) {
  const { value, onChange, onProblem, tree, onDuplicate, onRemove } = props;
  const [isExploring, setExploring] = useState(false);
  const format = async () => {
    try {
      onChange((await ask<string>("format_query", { query: value })).data);
    } catch (error) {
      onProblem(asApiError(error).message);
    }
  };
  return (
    <>
      <Menu position="bottom-end" width={200}>
        <Menu.Target>
          <ActionIcon variant="default" size={36} aria-label="More for this panel" title="More">
            ⋮
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => setExploring(true)}>Explore metrics</Menu.Item>
          <Menu.Item onClick={format} disabled={value.trim() === ""}>
            Format expression
          </Menu.Item>
          <Menu.Item onClick={tree.toggle}>{tree.isShown ? "Hide tree" : "Show tree"}</Menu.Item>
          <Menu.Item onClick={onDuplicate}>Duplicate panel</Menu.Item>
          <Menu.Item onClick={onRemove}>Remove panel</Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {isExploring && (
        <MetricsExplorer
          onChoose={(name) => {
            onChange(value === "" ? name : `${value.trimEnd()} ${name}`);
            setExploring(false);
          }}
          onClose={() => setExploring(false)}
        />
      )}
    </>
  );
}
