import { useState } from "react";

import { useResource } from "../api/useResource";
import { Empty, Loaded } from "../components/Loaded";
import { Page } from "../components/Page";
import { Scroll } from "../components/Scroll";
import { Search } from "../components/Search";
import { matches } from "../lib/labels";

export default function FlagsPage() {
  const [search, setSearch] = useState("");
  const flags = useResource<Record<string, string>>("status/flags");
  return (
    <Page title="Flags" tools={<Search label="Search flags" value={search} onChange={setSearch} />}>
      <Loaded of={flags}>
        {(flags) => <FlagsTable rows={Object.entries(flags).filter((row) => matches(search, ...row))} />}
      </Loaded>
    </Page>
  );
}

function FlagsTable({ rows }: { rows: [string, string][] }) {
  if (rows.length === 0) return <Empty>No flag fits.</Empty>;
  return (
    <div className="card">
      <Scroll label="Flags">
        <table className="table rows">
          <thead>
            <tr>
              <th>Flag</th>
              <th>Value</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, value]) => (
              <tr key={name}>
                <td className="wide">
                  <code>--{name}</code>
                </td>
                <td className="wide">
                  <code>{value}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
    </div>
  );
}
