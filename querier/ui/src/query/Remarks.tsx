import type { Answer, ApiError } from "../api/client";
import { Notice } from "../components/Notice";
import { frame, locateError, locateRemark, type Remark } from "../lib/positions";

interface RemarksProps {
  expr: string;
  error: ApiError | null;
  answer: Answer<unknown> | null;
  /** Puts the cursor where a remark points. */
  onSelect: (offset: number) => void;
}

/** What the server has to say of an expression, and where in it. */
export function Remarks({ expr, error, answer, onSelect }: RemarksProps) {
  const warnings = answer?.warnings ?? [];
  const infos = answer?.infos ?? [];
  if (!error && warnings.length + infos.length === 0) return null;
  const shown = { expr, onSelect };
  return (
    <div className="remarks">
      {error && (
        <Notice tone="bad">
          {error.kind !== "" && <b>{error.kind}: </b>}
          <Located remark={locateError(error.message, expr)} {...shown} />
        </Notice>
      )}
      {warnings.map((warning) => (
        <Notice tone="warn" key={warning}>
          <Located remark={locateRemark(warning, expr)} {...shown} />
        </Notice>
      ))}
      {infos.map((info) => (
        <Notice tone="info" key={info}>
          <Located remark={locateRemark(info, expr)} {...shown} />
        </Notice>
      ))}
    </div>
  );
}

interface LocatedProps {
  remark: Remark;
  expr: string;
  onSelect: (offset: number) => void;
}

function Located({ remark, expr, onSelect }: LocatedProps) {
  const { offset } = remark;
  if (offset === null) return <>{remark.text}</>;
  const { line, caret } = frame(expr, offset);
  return (
    <>
      {remark.text}{" "}
      <button type="button" className="link-button" onClick={() => onSelect(offset)}>
        line {remark.line}, column {remark.column}
      </button>
      <pre>
        {line}
        {"\n"}
        {" ".repeat(caret)}^
      </pre>
    </>
  );
}
