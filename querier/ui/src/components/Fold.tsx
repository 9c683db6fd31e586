import { useId, useState, type ReactNode } from "react";

interface FoldProps {
  title: ReactNode;
  /** Beside the title. */
  aside?: ReactNode;
  isOpenAtFirst: boolean;
  children: ReactNode;
}

/** A card whose content can be folded away. */
export function Fold({ title, aside, isOpenAtFirst, children }: FoldProps) {
  const [isOpen, setOpen] = useState(isOpenAtFirst);
  const id = useId();
  return (
    <section className="card">
      <div className="card-head">
        <h2>
          <button
            type="button"
            className="fold"
            aria-expanded={isOpen}
            aria-controls={id}
            onClick={() => setOpen(!isOpen)}
          >
            {title}
          </button>
        </h2>
        <span className="grow" />
        {aside}
      </div>
      <div id={id} hidden={!isOpen}>
        {isOpen && children}
      </div>
    </section>
  );
}
