// Puts the page together: the bar, the charts of the chosen run in their sections, and what changes them all.
const SECTIONS = [["scaling", makeScaling], ["gantt", makeGantt], ["utilization", makeUtilization], ["optimization", makeOptimization]];
const FEW = 4; // of each kind of what needs a person, before all are asked for

let payload = null, chosen = -1, table = null, painters = [], bar = null;
const hosts = {};

const makeBar = () => {
  const view = element("output", { "aria-live": "off" });
  const reset = element("button", { type: "button", onclick: resetView }, "Show all");
  const runs = element("select", { "aria-label": "Run that the charts show", onchange: (event) => showRun(Number(event.target.value)) });
  const theme = element("button", { type: "button", onclick: () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.chosen = "1";
    repaint();
  } });
  const tell = () => {
    view.textContent = isZoomed() ? `${clock(time.from)} to ${clock(time.to)}` : `all of ${duration(time.whole[1])}`;
    reset.disabled = !isZoomed();
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  const offer = () => {
    runs.replaceChildren(...payload.runs.map((run, i) => element("option", { value: i }, `${run.name}: ${run.state}, ${count(run.tests.names.length, "test")}`)));
    runs.hidden = payload.runs.length < 2;
    runs.value = String(chosen);
  };
  const root = element("div", { class: "bar", role: "toolbar", "aria-label": "Run and time" },
    element("b", { class: "name" }, "DRM report"), runs, element("span", { class: "grow" }), view, reset, theme);
  return { root, tell, offer };
};

const repaint = () => {
  readColours();
  painters.forEach((paint) => paint());
  bar.tell();
  drawSoon();
};

// Each row of what needs a person leads to its moment; of many rows of a kind the first few are shown.
const linkMoments = () => {
  const rows = [...document.querySelectorAll("#attention tbody tr")], seen = new Map(), rest = [];
  for (const row of rows) {
    const kind = row.cells[0].textContent, number = (seen.get(kind) ?? 0) + 1;
    seen.set(kind, number);
    if (number > FEW) rest.push(row);
    const at = row.dataset.at ? payload.runs.findIndex((run) => run.name === row.dataset.run) : -1;
    if (at < 0) continue;
    const show = () => { showRun(at); showMoment(Number(row.dataset.at)); };
    row.cells[0].append(" ", element("button", { class: "link", type: "button", onclick: show, "aria-label": `Show on the timeline: ${row.cells[2].textContent}` }, "show"));
  }
  if (rest.length < 2) return;
  rest.forEach((row) => { row.hidden = true; });
  const all = element("button", { class: "link", type: "button", onclick: () => { rest.forEach((row) => { row.hidden = false; }); all.remove(); } }, `Show ${rest.length} more`);
  document.querySelector("#attention .scroll").after(all);
};

// The tables that stand in for the charts where no script runs, to be read beside them.
const offerTables = () => {
  for (const fallback of document.querySelectorAll(".static")) {
    if (!fallback.querySelector("table, svg") && !document.documentElement.dataset.live) continue;
    const button = element("button", { type: "button", class: "link", "aria-expanded": "false", onclick: () => {
      const shown = fallback.classList.toggle("shown");
      button.setAttribute("aria-expanded", shown);
      button.textContent = shown ? "Hide the tables" : "Show as tables";
    } }, "Show as tables");
    fallback.before(button);
  }
};

// The run that most is to be seen of: of those that no test made, the one with the most tests.
const busiest = () => payload.runs.reduce((best, run, i) => (!run.inner && (best < 0 || run.tests.names.length > payload.runs[best].tests.names.length) ? i : best), -1);

const showRun = (i, view = null) => {
  if (i === chosen && !view) return;
  chosen = i;
  forgetPlots();
  Object.values(hosts).forEach((host) => host.replaceChildren());
  bar.offer();
  if (i < 0) {
    setWhole(1);
    Object.values(hosts).forEach((host) => host.append(element("p", { class: "nothing" }, "No run was recorded.")));
  } else {
    const run = readRun(payload, payload.runs[i]);
    run.isNamed = i !== busiest();
    table = null;
    setWhole(run.wall);
    if (view && view[0] < view[1]) setView(...view);
    painters = SECTIONS.map(([name, make]) => make(hosts[name], run)).filter(Boolean);
    table = makeTests(hosts.tests, run);
  }
  bar.tell();
  drawSoon();
};

const start = async () => {
  payload = await readPayload(document.getElementById("data").textContent);
  const main = document.querySelector("main");
  followSystem();
  readColours();
  main.append(element("div", { class: "live", "aria-live": "polite" }));
  document.body.append(element("div", { id: "tip", "aria-hidden": "true" }));
  offerTables();
  for (const name of [...SECTIONS.map(([section]) => section), "tests"]) {
    hosts[name] = element("div", { class: "charts" });
    document.querySelector(`#${name} h2`).after(hosts[name]);
  }
  const state = readHash(), named = payload.runs.findIndex((run) => run.name === state.run);
  takeHash(state);
  bar = makeBar();
  main.prepend(bar.root);
  time.listeners.push(drawSoon, bar.tell, () => table?.onView?.(), () => announce(isZoomed() ? `Showing ${clock(time.from)} to ${clock(time.to)}` : "Showing all"));
  time.cursorListeners.push(moveLines);
  showRun(named < 0 ? busiest() : named, (state.t ?? "").split("-").map(Number));
  linkMoments();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (document.documentElement.dataset.chosen) return;
    delete document.documentElement.dataset.theme;
    followSystem();
    repaint();
  });
  let width = main.clientWidth;
  new ResizeObserver(() => { if (main.clientWidth !== width) { width = main.clientWidth; drawSoon(); } }).observe(main);
  requestAnimationFrame(() => requestAnimationFrame(() => { document.documentElement.dataset.drawn = performance.now().toFixed(0); }));
  if (document.documentElement.dataset.live) {
    listen(async (page) => {
      const name = payload.runs[chosen]?.name, view = isZoomed() ? [time.from, time.to] : [0, 0];
      payload = await readPayload(page.getElementById("data").textContent);
      takeOver(page);
      const again = payload.runs.findIndex((run) => run.name === name);
      showRun(again < 0 ? busiest() : again, view);
      linkMoments();
    });
  }
};

// Where anything goes wrong, the page without scripts is shown instead: it says the same.
if (document.documentElement.classList.contains("js")) {
  start().catch((error) => {
    document.documentElement.classList.remove("js");
    document.documentElement.dataset.drawn = "failed";
    console.error(error);
  });
}
