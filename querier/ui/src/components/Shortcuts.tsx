import { useEffect, useRef, useState, type ReactNode } from "react";
import { useLocation } from "wouter";

import { ROUTES } from "../pages/routes";
import { Dialog } from "./Dialog";
import { Facts } from "./Facts";

/** How long a `g` waits for its letter, in milliseconds. */
const LETTER_TIME = 1500;

/** Put on what `/` brings the cursor to. */
export const FOCUSED_BY_SLASH = "data-slash";

function isTyping(event: KeyboardEvent): boolean {
  const element = event.composedPath()[0];
  if (!(element instanceof HTMLElement)) return false;
  return element.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(element.tagName);
}

function focusBySlash(): boolean {
  const marked = document.querySelector<HTMLElement>(`[${FOCUSED_BY_SLASH}]`);
  const inside = marked?.shadowRoot?.querySelector<HTMLElement>("[contenteditable]");
  (inside ?? marked)?.focus();
  return marked !== null;
}

/** Keys that work on every page, and the list of them. */
export function Shortcuts() {
  const [, go] = useLocation();
  const [isOpen, setOpen] = useState(false);
  const goUntil = useRef(0);

  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
      const route = ROUTES.find(({ letter }) => letter === event.key);
      if (event.timeStamp < goUntil.current && route) {
        goUntil.current = 0;
        go(route.path);
      } else if (event.key === "g") {
        goUntil.current = event.timeStamp + LETTER_TIME;
        return;
      } else if (event.key === "?") {
        setOpen((isOpen) => !isOpen);
      } else if (event.key !== "/" || !focusBySlash()) {
        return;
      }
      event.preventDefault();
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [go]);

  if (!isOpen) return null;
  return (
    <Dialog title="Keys" onClose={() => setOpen(false)}>
      <ShortcutList />
    </Dialog>
  );
}

function ShortcutList() {
  const keys: [string, string][] = [
    ["/", "go to the expression"],
    ["Enter", "run it"],
    ["Shift Enter", "start a new line"],
    ["Escape", "leave the editor"],
    ...ROUTES.map(({ letter, title }): [string, string] => [`g ${letter}`, title]),
    ["?", "show or hide this list"],
  ];
  const rows = keys.map(([key, what]): [ReactNode, string] => [<Keys key={key} of={key} />, what]);
  return <Facts of={rows} />;
}

function Keys({ of }: { of: string }) {
  return of.split(" ").map((key, at) => <kbd key={at}>{key}</kbd>);
}
