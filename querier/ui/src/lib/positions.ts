// Where in an expression an error or a remark of the server points.

export interface Remark {
  /** Without the position. */
  text: string;
  /** Of the expression's text; `null` if the server names none. */
  offset: number | null;
  /** Counted from 1. */
  line: number;
  column: number;
}

const ERROR_AT = /(?:^|: )(\d+):(\d+): parse error: (.*)$/s;
const REMARK_AT = /^(.*) \((\d+):(\d+)\)$/s;

/** The server counts lines and UTF-8 bytes of a line from 1; the browser counts UTF-16 units. */
function offsetOf(expr: string, line: number, column: number): number | null {
  const lines = expr.split("\n");
  const text = lines[line - 1];
  if (text === undefined) return null;
  const before = lines.slice(0, line - 1).reduce((sum, line) => sum + line.length + 1, 0);
  let bytes = 0;
  let units = 0;
  for (const character of text) {
    if (bytes >= column - 1) break;
    bytes += new TextEncoder().encode(character).length;
    units += character.length;
  }
  return before + units;
}

function located(text: string, expr: string, line: number, column: number): Remark {
  return { text, offset: offsetOf(expr, line, column), line, column };
}

export function locateError(message: string, expr: string): Remark {
  const found = ERROR_AT.exec(message);
  if (!found) return { text: message, offset: null, line: 0, column: 0 };
  return located(found[3] ?? "", expr, Number(found[1]), Number(found[2]));
}

export function locateRemark(message: string, expr: string): Remark {
  const found = REMARK_AT.exec(message);
  if (!found) return { text: message, offset: null, line: 0, column: 0 };
  return located(found[1] ?? "", expr, Number(found[2]), Number(found[3]));
}

/** The line that a remark points into and how far: for a caret beneath it. */
export function frame(expr: string, offset: number): { line: string; caret: number } {
  const start = expr.lastIndexOf("\n", offset - 1) + 1;
  const end = expr.indexOf("\n", offset);
  return { line: expr.slice(start, end < 0 ? undefined : end), caret: offset - start };
}
