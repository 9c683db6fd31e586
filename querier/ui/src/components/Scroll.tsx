import type { ReactNode } from "react";

/** A region that scrolls sideways where it is too wide, by keys too. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    // Reachable by keys, as what is scrolled must be.
    <div className="scroll" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}
