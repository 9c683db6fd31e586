// Opens every page in a Chromium, with data, without, and where the server fails: nothing may be
// written to the console, asked of another host, or wrong in the eyes of axe.
//
//   node main.mjs URL [FOLDER FOR SCREENSHOTS]
//
// NARTHEX_NODE is the folder of the packages, NARTHEX_CHROMIUM the browser, NARTHEX_LIBRARIES where
// its libraries are.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { EMPTY, FAILURE, RULES } from "./answers.mjs";
import { interactions } from "./interactions.mjs";

const require = createRequire(`${process.env.NARTHEX_NODE}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [, , url, screenshots] = process.argv;
const host = new URL(url).host;

/** Path, what is to be seen with data, and without. */
const PAGES = [
  ["query?g0.expr=up&g0.tab=table", "up{", "The answer is empty."],
  ["query?g0.expr=rate(demo_seconds_count[5m])&g0.tab=graph&g0.range_input=30m", "demo", "The answer is empty."],
  ["query?g0.expr=demo_seconds_count&g0.tab=graph&g0.display_mode=stacked", "demo_seconds_count", "The answer is empty."],
  ["query?g0.expr=rate(demo_seconds_bucket[2m])&g0.tab=graph&g0.range_input=30m&g0.display_mode=heatmap", "Heatmap of", "The answer is empty."],
  ["query?g0.expr=sum(rate(demo_seconds_count[5m]))&g0.tab=explain", "Where time went", "Syntax tree"],
  ["tail?expr=up", "up{", "No sample came"],
  ["alerts", "InstanceDown", "There are no alerting rules."],
  ["rules", "job:up:sum", "There are no rules."],
  ["targets", "2 of 2 up", "Nothing is scraped"],
  ["service-discovery", "__address__", "Nothing was discovered."],
  ["cluster", "Shards", "No cluster is known"],
  ["tsdb-status", "Metrics with most series", "No shard has a series yet."],
  ["active-queries", "No query is under way", "No query is under way"],
  ["status", "Samples are kept", "Samples are kept"],
  ["flags", "--web.", "No flag fits."],
  ["config", "scrape_configs", "There is no configuration"],
];

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

const problems = [];

/** A page whose every misstep is noted. `expectsRefusals`: failing requests are no misstep. */
async function open(browser, { viewport, scheme, expectsRefusals = false }, name) {
  const context = await browser.newContext({ viewport, colorScheme: scheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type())) return;
    if (expectsRefusals && message.text().startsWith("Failed to load resource")) return;
    problems.push(`${name}: console: ${message.text()}`);
  });
  page.on("pageerror", (error) => problems.push(`${name}: ${error.stack}`));
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (!["data:", "blob:"].includes(asked.protocol) && asked.host !== host) {
      problems.push(`${name}: asked ${request.url()}`);
    }
  });
  return page;
}

async function check(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  for (const { id, nodes } of violations) {
    for (const node of nodes.slice(0, 3)) {
      problems.push(`${name}: axe: ${id}: ${node.html.slice(0, 200)}: ${node.failureSummary}`);
    }
  }
  const [content, shown] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  if (content > shown) problems.push(`${name}: ${content} pixels wide on a screen of ${shown}`);
  if (screenshots) await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
}

async function sees(page, name, text) {
  try {
    const seen = page.getByText(text).or(page.getByLabel(text)).filter({ visible: true });
    await seen.first().waitFor({ timeout: 20_000 });
    await page.locator("[aria-label=Loading]").first().waitFor({ state: "detached", timeout: 20_000 });
  } catch {
    problems.push(`${name}: does not show ${JSON.stringify(text)}: ${await page.locator("main").innerText()}`);
  }
}

function named(path, view) {
  return `${path.replace(/[^a-z0-9]+/g, "-").slice(0, 60)}-${view}`;
}

/** Rules are made up, so that the pages of rules have something to show. */
const answerRules = (route) =>
  route.fulfill({ json: { status: "success", data: { groups: RULES } } });

async function withData(browser, viewport, scheme) {
  for (const [path, text] of PAGES) {
    const name = named(path, `${viewport === PHONE ? "phone" : "desktop"}-${scheme}`);
    const page = await open(browser, { viewport, scheme }, name);
    await page.route("**/api/v1/rules*", answerRules);
    await page.goto(`${url}/${path}`);
    await sees(page, name, text);
    if (path.startsWith("query")) await page.locator(".editor").waitFor();
    await check(page, name);
    await page.context().close();
  }
}

async function without(browser, { kind, answers, textOf }) {
  for (const row of PAGES) {
    const name = named(row[0], kind);
    const view = { viewport: DESKTOP, scheme: "light", expectsRefusals: kind === "failing" };
    const page = await open(browser, view, name);
    await page.route("**/api/v1/**", (route) => route.fulfill(answers(new URL(route.request().url()))));
    await page.goto(`${url}/${row[0]}`);
    await sees(page, name, textOf(row));
    await check(page, name);
    await page.context().close();
  }
}

function emptyAnswer(asked) {
  const path = asked.pathname.replace(/.*\/api\/v1\//, "");
  assert(path in EMPTY, `no empty answer of ${path}`);
  return { json: { status: "success", data: EMPTY[path] } };
}

if (screenshots) mkdirSync(screenshots, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.NARTHEX_CHROMIUM,
  env: { ...process.env, LD_LIBRARY_PATH: process.env.NARTHEX_LIBRARIES },
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  await withData(browser, DESKTOP, "light");
  await withData(browser, PHONE, "dark");
  if (screenshots) {
    await withData(browser, DESKTOP, "dark");
    await withData(browser, PHONE, "light");
  }
  await without(browser, { kind: "empty", answers: emptyAnswer, textOf: (row) => row[2] });
  await without(browser, {
    kind: "failing",
    answers: () => ({ status: 503, json: FAILURE }),
    textOf: () => FAILURE.error,
  });
  for (const [name, act] of Object.entries(interactions)) {
    const page = await open(browser, { viewport: DESKTOP, scheme: "light", expectsRefusals: true }, name);
    try {
      await act(page, url);
    } catch (error) {
      problems.push(`${name}: ${error.stack}`);
    }
    await page.context().close();
  }
} finally {
  await browser.close();
}
for (const problem of problems) console.error(problem);
assert.equal(problems.length, 0, `${problems.length} problems`);
console.log("all pages are fine");
