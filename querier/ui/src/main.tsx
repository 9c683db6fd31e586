import "@mantine/core/styles.css";
import "./app.css";

import { createTheme, MantineProvider } from "@mantine/core";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";

const theme = createTheme({
  // As the policy of the page allows no styles but those of its files.
  components: { Menu: { defaultProps: { transitionProps: { duration: 0 } } } },
});

const root = document.getElementById("root");
if (!root) throw new Error("BUG: the page has no root");
createRoot(root).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      defaultColorScheme="auto"
      withCssVariables={false}
      withGlobalClasses={false}
    >
      <App />
    </MantineProvider>
  </StrictMode>,
);
