import { Loader } from "@mantine/core";
import { Suspense } from "react";
import { Redirect, Route, Router, Switch } from "wouter";

import { BASE } from "./api/client";
import { Boundary } from "./components/Boundary";
import { Header } from "./components/Header";
import { Empty } from "./components/Loaded";
import { SettingsProvider } from "./components/settings";
import { Shortcuts } from "./components/Shortcuts";
import { ROUTES } from "./pages/routes";

const waiting = (
  <div className="empty">
    <Loader size="sm" aria-label="Loading" />
  </div>
);

export function App() {
  return (
    <SettingsProvider>
      <Router base={BASE.replace(/\/$/, "")}>
        <a className="skip-link" href="#main">
          Skip to the content
        </a>
        <Header />
        <Shortcuts />
        <main className="main" id="main" tabIndex={-1}>
          <Switch>
            {ROUTES.map(({ path, page: Page }) => (
              <Route path={path} key={path}>
                <Boundary>
                  <Suspense fallback={waiting}>
                    <Page />
                  </Suspense>
                </Boundary>
              </Route>
            ))}
            <Route path="/">
              <Redirect to="/query" replace />
            </Route>
            <Route>
              <Empty>There is no such page.</Empty>
            </Route>
          </Switch>
        </main>
      </Router>
    </SettingsProvider>
  );
}
