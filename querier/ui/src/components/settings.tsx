import { useLocalStorage } from "@mantine/hooks";
import { createContext, useContext, useMemo, type ReactNode } from "react";

interface Settings {
  /** Times are shown in the zone of the browser, else in UTC. */
  isLocalTime: boolean;
  setLocalTime: (isLocal: boolean) => void;
}

const Context = createContext<Settings | null>(null);

export function SettingsProvider({ children }: { children: ReactNode }) {
  const [isLocalTime, setLocalTime] = useLocalStorage({
    key: "narthex.local-time",
    defaultValue: false,
    getInitialValueInEffect: false,
  });
  const settings = useMemo(() => ({ isLocalTime, setLocalTime }), [isLocalTime, setLocalTime]);
  return <Context.Provider value={settings}>{children}</Context.Provider>;
}

export function useSettings(): Settings {
  const settings = useContext(Context);
  if (!settings) throw new Error("BUG: no settings above this component");
  return settings;
}
