import type { ReactNode } from "react";

import type { BuildInfo, RuntimeInfo } from "../api/types";
import { useResource } from "../api/useResource";
import { Badge } from "../components/Badge";
import { Facts } from "../components/Facts";
import { Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { useNow } from "../components/useNow";
import { ago } from "../lib/time";

export default function StatusPage() {
  const runtime = useResource<RuntimeInfo>("status/runtimeinfo", {}, 10_000);
  const build = useResource<BuildInfo>("status/buildinfo");
  return (
    <Page title="Runtime and build">
      <div className="halves">
        <Card title="Runtime">
          <Loaded of={runtime}>{(info) => <Runtime info={info} />}</Loaded>
        </Card>
        <Card title="Build">
          <Loaded of={build}>
            {(info) => (
              <Facts
                of={[
                  ["Program", `${info.application} ${info.applicationVersion}`],
                  ["API of Prometheus", info.version],
                ]}
              />
            )}
          </Loaded>
        </Card>
      </div>
    </Page>
  );
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="card">
      <div className="card-head">
        <h2>{title}</h2>
      </div>
      <div className="card-body stack">{children}</div>
    </section>
  );
}

function Runtime({ info }: { info: RuntimeInfo }) {
  const now = useNow();
  const reloaded = info.reloadConfigSuccess ? (
    <Badge tone="good">in force</Badge>
  ) : (
    <Badge tone="bad">the last change was refused</Badge>
  );
  return (
    <Facts
      of={[
        ["Host", info.hostname],
        ["Started", ago(info.startTime, now)],
        ["Folder", <code key="folder">{info.CWD}</code>],
        ["Threads", info.GOMAXPROCS],
        ["Samples are kept", info.storageRetention],
        ["Configuration", reloaded],
        ["Loaded", ago(info.lastConfigTime, now)],
      ]}
    />
  );
}
