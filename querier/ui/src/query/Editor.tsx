import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { lintKeymap } from "@codemirror/lint";
import { EditorState, Prec, type Extension } from "@codemirror/state";
import { EditorView, highlightSpecialChars, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { newCompleteStrategy, PromQLExtension, type CompleteStrategy } from "@prometheus-io/codemirror-promql";
import { useEffect, useImperativeHandle, useRef, type Ref } from "react";

import { BASE } from "../api/client";
import { FOCUSED_BY_SLASH } from "../components/Shortcuts";
import { pastQueries } from "../lib/history";
import type { EditorHandle } from "./ExpressionInput";

export interface EditorProps {
  value: string;
  onChange: (value: string) => void;
  onRun: () => void;
  handle: Ref<EditorHandle>;
  /** Whether the cursor is in what the editor takes the place of. */
  hasFocusAtFirst: boolean;
}

const colors = HighlightStyle.define([
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.string, color: "var(--code-string)" },
  { tag: [tags.keyword, tags.modifier, tags.function(tags.variableName)], color: "var(--code-keyword)" },
  { tag: tags.labelName, color: "var(--code-name)" },
  { tag: tags.comment, color: "var(--dim)", fontStyle: "italic" },
  { tag: tags.invalid, color: "var(--bad)" },
]);

const look = EditorView.theme({
  "&": { backgroundColor: "transparent", color: "var(--text)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.4" },
  ".cm-content": { padding: "8px 4px", caretColor: "var(--text)" },
  ".cm-placeholder": { color: "var(--dim)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-selectionMatch, &.cm-focused .cm-matchingBracket": { backgroundColor: "var(--accent-soft)" },
  ".cm-line ::selection, .cm-line::selection": { backgroundColor: "var(--accent-soft)" },
  ".cm-tooltip": {
    backgroundColor: "var(--panel)",
    color: "var(--text)",
    border: "1px solid var(--line)",
    borderRadius: "6px",
    zIndex: "50",
  },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "320px" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "2px 8px" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": {
    backgroundColor: "var(--accent-soft)",
    color: "var(--text)",
  },
  ".cm-completionMatchedText": { textDecoration: "none", fontWeight: "700", color: "var(--accent)" },
  ".cm-completionDetail": { color: "var(--dim)", marginLeft: "1em" },
  ".cm-tooltip.cm-completionInfo": { padding: "6px 10px", maxWidth: "420px" },
  // In place of pictures out of the style, which the page's policy forbids.
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
  ".cm-lintRange-warning, .cm-lintRange-info, .cm-lintRange-hint": {
    backgroundImage: "none",
    textDecoration: "underline wavy var(--warn)",
  },
  ".cm-diagnostic-error": { borderLeft: "4px solid var(--bad)" },
});

/** Completions of the language and the server, and expressions that were run before. */
class WithHistory implements CompleteStrategy {
  private readonly inner = newCompleteStrategy({
    remote: { url: BASE.replace(/\/$/, ""), httpMethod: "GET" },
  });

  async promQL(context: Parameters<CompleteStrategy["promQL"]>[0]) {
    const found = await this.inner.promQL(context);
    const isWhole = (found?.from ?? 0) === 0 && context.pos === context.state.doc.length;
    if (!isWhole || (context.pos === 0 && !context.explicit)) return found;
    const typed = context.state.doc.toString();
    const past = pastQueries().filter((expr) => expr !== typed && expr.startsWith(typed));
    const options = past.slice(0, 10).map((expr) => ({
      label: expr.length < 80 ? expr : `${expr.slice(0, 76)}…`,
      apply: expr,
      detail: "run before",
      boost: -50,
    }));
    return { from: 0, ...found, options: [...(found?.options ?? []), ...options] };
  }

  destroy() {
    this.inner.destroy?.();
  }
}

function extensions(run: () => void, changed: (text: string) => void): Extension[] {
  const promql = new PromQLExtension().setComplete({ completeStrategy: new WithHistory() });
  const leave = (view: EditorView) => {
    view.contentDOM.blur();
    return true;
  };
  const enter = () => {
    run();
    return true;
  };
  return [
    look,
    syntaxHighlighting(colors),
    highlightSpecialChars(),
    history(),
    EditorState.allowMultipleSelections.of(true),
    EditorView.lineWrapping,
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    autocompletion(),
    placeholder("PromQL expression; Shift Enter starts a new line"),
    EditorView.contentAttributes.of({ "aria-label": "Expression" }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) changed(update.state.doc.toString());
    }),
    promql.asExtension(),
    Prec.highest(
      keymap.of([
        { key: "Enter", run: enter },
        { key: "Shift-Enter", run: insertNewlineAndIndent },
      ]),
    ),
    keymap.of([
      ...closeBracketsKeymap,
      ...defaultKeymap,
      ...historyKeymap,
      ...completionKeymap,
      ...lintKeymap,
      { key: "Escape", run: leave },
    ]),
  ];
}

/**
 * The editor of expressions. It lives in a shadow tree, as there it styles itself by sheets that
 * are made by script: in the document it would need styles that the page's policy forbids.
 */
export default function Editor({ value, onChange, onRun, handle, hasFocusAtFirst }: EditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const calls = useRef({ onChange, onRun });
  calls.current = { onChange, onRun };
  const first = useRef({ value, hasFocusAtFirst });

  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
    const doc = first.current.value;
    const made = new EditorView({
      parent: root,
      root,
      doc,
      selection: { anchor: doc.length },
      extensions: extensions(
        () => calls.current.onRun(),
        (text) => calls.current.onChange(text),
      ),
    });
    view.current = made;
    if (first.current.hasFocusAtFirst) made.focus();
    return () => {
      view.current = null;
      made.destroy();
    };
  }, []);

  useEffect(() => {
    const shown = view.current?.state.doc;
    if (!shown || shown.toString() === value) return;
    view.current?.dispatch({ changes: { from: 0, to: shown.length, insert: value } });
  }, [value]);

  useImperativeHandle(handle, () => ({
    select(offset) {
      const anchor = Math.min(offset, view.current?.state.doc.length ?? 0);
      view.current?.focus();
      view.current?.dispatch({ selection: { anchor }, scrollIntoView: true });
    },
  }));

  return <div className="editor" ref={host} {...{ [FOCUSED_BY_SLASH]: true }} />;
}
