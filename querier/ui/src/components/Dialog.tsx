import { Button } from "@mantine/core";
import { useEffect, useRef, type ReactNode } from "react";

interface DialogProps {
  title: string;
  /** Beside the title. */
  tools?: ReactNode;
  onClose: () => void;
  children: ReactNode;
}

/** What lies over the page until it is closed. */
export function Dialog({ title, tools, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog className="card dialog" ref={dialog} onCancel={onClose} aria-label={title}>
      <div className="card-head">
        <h2>{title}</h2>
        <span className="grow" />
        {tools}
        <Button variant="default" size="compact-md" onClick={onClose}>
          Close
        </Button>
      </div>
      <div className="card-body">{children}</div>
    </dialog>
  );
}
