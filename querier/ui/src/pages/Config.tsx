import { Button, CopyButton } from "@mantine/core";

import { useResource } from "../api/useResource";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";

export default function ConfigPage() {
  const config = useResource<{ yaml: string }>("status/config");
  const yaml = config.answer?.data.yaml ?? "";
  const copy = (
    <CopyButton value={yaml}>
      {({ copied, copy }) => (
        <Button size="compact-md" variant="default" onClick={copy} disabled={yaml === ""}>
          {copied ? "Copied" : "Copy"}
        </Button>
      )}
    </CopyButton>
  );
  return (
    <Page title="Configuration" tools={copy}>
      <Loaded of={config}>
        {({ yaml }) =>
          yaml.trim() === "" ? (
            <Empty>There is no configuration: nothing is scraped.</Empty>
          ) : (
            <pre className="card yaml" tabIndex={0} aria-label="Configuration as YAML">
              {yaml}
            </pre>
          )
        }
      </Loaded>
    </Page>
  );
}
