// What somebody does, and what must come of it.

import assert from "node:assert/strict";

import { FAILURE } from "./answers.mjs";

const editor = (page) => page.locator(".editor").first().getByLabel("Expression");

async function typed(page, text) {
  await editor(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type(text);
}

export const interactions = {
  async "an expression is typed, run and linked to"(page, url) {
    await page.goto(url);
    await page.waitForURL(/\/query/);
    await editor(page).waitFor();
    await page.locator("h1").waitFor({ state: "attached" });
    await page.keyboard.press("/");
    await page.keyboard.type("count(up)");
    // Closes the completions, leaves the editor.
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.keyboard.press("/");
    await page.keyboard.press("Enter");
    await page.getByRole("cell", { name: "2", exact: true }).waitFor();
    assert.match(page.url(), /g0\.expr=count%28up%29/);
    await page.getByRole("tab", { name: "Graph" }).click();
    await page.locator(".chart canvas").waitFor();
    assert.match(page.url(), /g0\.tab=graph/);
    await page.reload();
    await page.locator(".chart canvas").waitFor();
  },

  async "the editor completes what the server knows"(page, url) {
    await page.goto(`${url}/query`);
    await editor(page).waitFor();
    await typed(page, "demo_seconds_c");
    await page.getByText("demo_seconds_count").first().waitFor();
    await page.waitForTimeout(100);
    await page.keyboard.press("Enter");
    await typed(page, 'demo_seconds_count{p');
    await page.getByRole("option", { name: "part" }).waitFor();
  },

  async "an error points to its place"(page, url) {
    await page.goto(`${url}/query?g0.expr=${encodeURIComponent("up +\n  rate(up)")}`);
    await page.locator(".cm-lintRange-error").first().waitFor();
    const place = page.getByRole("button", { name: /^line 2, column/ });
    await place.click();
    const focused = await page.evaluate(() => document.activeElement?.className);
    assert.equal(focused, "editor");
  },

  async "panels are added, duplicated and removed"(page, url) {
    await page.goto(`${url}/query?g0.expr=up&g1.expr=vector(1)`);
    await page.locator(".editor").nth(1).waitFor();
    await page.getByRole("button", { name: "Add a panel" }).click();
    await page.locator(".editor").nth(2).waitFor();
    await page.getByLabel("More for this panel").first().click();
    await page.getByRole("menuitem", { name: "Duplicate panel" }).click();
    await page.locator(".editor").nth(3).waitFor();
    assert.match(page.url(), /g1\.expr=up&.*g2\.expr=vector/);
    await page.getByLabel("More for this panel").first().click();
    await page.getByRole("menuitem", { name: "Remove panel" }).click();
    await page.locator(".editor").nth(3).waitFor({ state: "detached" });
    await page.goBack();
  },

  async "links of Prometheus 2 lead to the same graph"(page, url) {
    await page.goto(`${url}/graph?g0.expr=up&g0.tab=0&g0.stacked=1&g0.range_input=2h`);
    await page.waitForURL(/\/query\?/);
    await page.locator(".chart canvas").waitFor();
    assert.equal(await page.getByRole("radio", { name: "Stacked" }).isChecked(), true);
    assert.equal(await page.getByRole("textbox", { name: "Range" }).inputValue(), "2h");
  },

  async "a range is zoomed into and lines are hidden"(page, url) {
    await page.goto(`${url}/query?g0.expr=demo_seconds_count&g0.tab=graph&g0.range_input=30m`);
    const over = page.locator(".u-over");
    await over.waitFor();
    const box = await over.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + 50);
    await page.locator(".tip b").waitFor();
    await page.getByRole("button", { name: /demo_seconds_count/ }).first().click();
    await page.mouse.move(box.x + box.width / 4, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2, box.y + 50, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL(/g0\.end_input/);
  },

  async "keys lead to pages"(page, url) {
    await page.goto(`${url}/flags`);
    await page.locator("h1").waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await page.waitForURL(/\/targets$/);
    await page.locator("h1").waitFor();
    await page.keyboard.press("?");
    await page.getByText("go to the expression").waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("go to the expression").waitFor({ state: "detached" });
  },

  async "colors and zone are chosen and kept"(page, url) {
    await page.goto(`${url}/flags`);
    const scheme = () => page.evaluate(() => document.documentElement.dataset.mantineColorScheme);
    await page.getByRole("button", { name: /^Colors/ }).click();
    await page.getByRole("button", { name: /^Colors/ }).click();
    assert.equal(await scheme(), "dark");
    await page.getByRole("button", { name: /^Times: UTC/ }).click();
    await page.reload();
    await page.getByRole("button", { name: /^Times: local/ }).waitFor();
    assert.equal(await scheme(), "dark");
  },

  async "a query is killed"(page, url) {
    const query = { id: 7, query: "up", user: "ann", state: "running", began: "", seconds: 3 };
    let killed = "";
    await page.route("**/status/queries", (route) =>
      route.fulfill({ json: { status: "success", data: { queries: killed ? [] : [query] } } }),
    );
    await page.route("**/admin/queries/kill", (route) => {
      killed = route.request().postData();
      return route.fulfill({ status: 204 });
    });
    await page.goto(`${url}/active-queries`);
    await page.getByRole("button", { name: "Kill query 7" }).click();
    await page.getByText("No query is under way").waitFor();
    assert.equal(killed, "id=7");
  },

  async "the tail shows what comes, and can be stopped"(page, url) {
    await page.goto(`${url}/tail?expr=up`);
    const rows = page.locator("tbody tr");
    await rows.first().waitFor();
    const before = await rows.first().innerText();
    await page.waitForFunction(
      (before) => document.querySelector("tbody tr").innerText !== before,
      before,
    );
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Go on" }).waitFor();
    await page.goto(`${url}/tail?expr=${encodeURIComponent("sum(up)")}`);
    await page.getByText("Only a selector of series can be watched.").waitFor();
  },

  async "where no rules are evaluated, that is said"(page, url) {
    await page.route("**/api/v1/rules*", (route) => route.fulfill({ status: 404, json: FAILURE }));
    await page.goto(`${url}/rules`);
    await page.getByText("This process evaluates no rules.").waitFor();
    await page.goto(`${url}/alerts`);
    await page.getByText("so it has no alerts").waitFor();
  },

  async "pages lie below any path"(page, url) {
    const below = `${url}/some/path`;
    await page.route(`${below}/**`, async (route) => {
      const asked = route.request().url().replace("/some/path", "");
      await route.fulfill({ response: await route.fetch({ url: asked, maxRedirects: 0 }) });
    });
    await page.goto(`${below}/`);
    await page.waitForURL(`${below}/query`);
    await editor(page).waitFor();
    await page.getByRole("link", { name: "Targets" }).click();
    await page.waitForURL(`${below}/targets`);
    await page.getByText("2 of 2 up").waitFor();
  },

  async "a page that is not there says so"(page, url) {
    const response = await page.goto(`${url}/nonsense`);
    assert.equal(response.status(), 404);
  },
};
