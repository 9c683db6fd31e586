import type { ReactNode } from "react";

interface NoticeProps {
  tone: "bad" | "warn" | "info";
  children: ReactNode;
}

/** Something to be read before the rest. */
export function Notice({ tone, children }: NoticeProps) {
  return (
    <div className={`notice notice-${tone}`} role={tone === "bad" ? "alert" : "status"}>
      {children}
    </div>
  );
}
