import { ActionIcon, Button, Menu, useMantineColorScheme } from "@mantine/core";
import { Link, useLocation } from "wouter";

import flame from "../flame.svg";
import { ROUTES, type Route } from "../pages/routes";
import { useSettings } from "./settings";

function NavLink({ route, current }: { route: Route; current: string }) {
  return (
    <Link href={route.path} aria-current={current === route.path ? "page" : undefined}>
      {route.title}
    </Link>
  );
}

/** The pages that have no place in the bar. */
function PagesMenu({ label, routes }: { label: string; routes: readonly Route[] }) {
  const [current, go] = useLocation();
  const here = routes.find((route) => route.path === current);
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <button type="button" className="nav-menu" data-here={here !== undefined}>
          {here ? here.title : label} ▾
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        {routes.map((route) => (
          <Menu.Item key={route.path} onClick={() => go(route.path)}>
            {route.title}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}

const SCHEMES = {
  auto: { next: "light", sign: "◐", words: "as the system" },
  light: { next: "dark", sign: "☀", words: "light" },
  dark: { next: "auto", sign: "☾", words: "dark" },
} as const;

function SchemeButton() {
  // Without transitions it would make a style that the page's policy forbids.
  const { colorScheme, setColorScheme } = useMantineColorScheme({ keepTransitions: true });
  const { next, sign, words } = SCHEMES[colorScheme];
  return (
    <ActionIcon
      variant="default"
      aria-label={`Colors: ${words}. Change to: ${SCHEMES[next].words}`}
      title={`Colors: ${words}`}
      onClick={() => setColorScheme(next)}
    >
      {sign}
    </ActionIcon>
  );
}

function ZoneButton() {
  const { isLocalTime, setLocalTime } = useSettings();
  return (
    <Button
      variant="default"
      size="compact-sm"
      aria-label={`Times: ${isLocalTime ? "local" : "UTC"}. Change`}
      title="Zone in which times are shown"
      onClick={() => setLocalTime(!isLocalTime)}
    >
      {isLocalTime ? "Local" : "UTC"}
    </Button>
  );
}

export function Header() {
  const [current] = useLocation();
  const rest = ROUTES.filter((route) => !route.isMain);
  return (
    <header className="header">
      <Link className="brand" href="/query">
        <img src={flame} alt="" />
        Narthex
      </Link>
      <nav className="nav" aria-label="Pages">
        {ROUTES.filter((route) => route.isMain).map((route) => (
          <NavLink key={route.path} route={route} current={current} />
        ))}
        <PagesMenu label="Status" routes={rest} />
      </nav>
      <span className="header-gap" />
      <div className="nav-narrow">
        <PagesMenu label="Pages" routes={ROUTES} />
      </div>
      <ZoneButton />
      <SchemeButton />
    </header>
  );
}
