import { useEffect, type ReactNode } from "react";

interface PageProps {
  title: string;
  /** Beside the title. */
  tools?: ReactNode;
  children: ReactNode;
}

export function Page({ title, tools, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · Narthex`;
  }, [title]);
  return (
    <>
      <div className="page-head">
        <h1>{title}</h1>
        <span className="grow" />
        {tools}
      </div>
      {children}
    </>
  );
}
