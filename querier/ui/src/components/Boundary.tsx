import { Component, type ReactNode } from "react";

import { Notice } from "./Notice";

interface BoundaryState {
  problem: string | null;
}

/** Keeps a page that breaks from taking the others with it. */
export class Boundary extends Component<{ children: ReactNode }, BoundaryState> {
  override state: BoundaryState = { problem: null };

  static getDerivedStateFromError(error: unknown): BoundaryState {
    return { problem: error instanceof Error ? error.message : String(error) };
  }

  override render(): ReactNode {
    const { problem } = this.state;
    if (problem === null) return this.props.children;
    return (
      <Notice tone="bad">
        This page could not be shown: {problem} <a href="">Load it again</a>
      </Notice>
    );
  }
}
