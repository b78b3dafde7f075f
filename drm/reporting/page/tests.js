// The table of tests: only the rows in sight are in the page; what is asked of it is in the address, to be passed on.
const ROW = 32, SPARE = 6;
const COLUMNS = [["status", "status"], ["name", "test"], ["wall", "wall"], ["cpu", "cpu"], ["rss", "memory"], ["attempts", "tries"], ["message", "message"]];
const asked = { q: "", status: new Set(), sort: "status", down: true, inView: false, test: null };
let chooseTest = () => {};

const readHash = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

const writeHash = (run) => {
  const words = new URLSearchParams();
  if (run.isNamed) words.set("run", run.name);
  if (asked.q) words.set("q", asked.q);
  if (asked.status.size) words.set("status", [...asked.status].join(","));
  if (asked.sort !== "status" || !asked.down) words.set("sort", (asked.down ? "-" : "") + asked.sort);
  if (asked.inView) words.set("seen", "1");
  if (isZoomed()) words.set("t", `${time.from.toFixed(4)}-${time.to.toFixed(4)}`);
  const hash = `#${words}`;
  if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
};

const takeHash = (state) => {
  asked.q = state.q ?? "";
  asked.status = new Set((state.status ?? "").split(",").filter(Boolean));
  const sort = state.sort ?? "-status";
  [asked.sort, asked.down] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  if (!COLUMNS.some(([name]) => name === asked.sort)) [asked.sort, asked.down] = ["status", true];
  asked.inView = state.seen === "1";
};

const makeTests = (host, run) => {
  const { tests } = run;
  if (!tests.n) {
    host.append(element("p", { class: "nothing" }, "No test was recorded."));
    return { refresh() {} };
  }
  const fullName = (test) => (tests.names[test] ? `${tests.files[tests.file[test]]}::${tests.names[test]}` : tests.files[tests.file[test]]);
  let lowered = null, chosen = null, found = [];
  const search = element("input", { type: "search", placeholder: "Filter by name, file or message", "aria-label": "Filter tests" });
  const told = element("span", { class: "soft small", role: "status" });
  const inView = element("button", { type: "button", "aria-pressed": "false" }, "Only the time in view");
  const counts = new Map();
  for (const status of tests.status) counts.set(status, (counts.get(status) ?? 0) + 1);
  const chips = [...counts].sort((a, b) => b[0] - a[0]).map(([status, number]) => {
    const word = run.statuses[status];
    return element("button", { type: "button", "data-status": word, "aria-pressed": "false", onclick: () => {
      if (!asked.status.delete(word)) asked.status.add(word);
      refresh();
    } }, `${GLYPHS[word] ?? "·"} ${word} ${number.toLocaleString("en")}`);
  });
  const heads = COLUMNS.map(([name, words]) => element("span", { role: "columnheader", class: ["wall", "cpu", "rss", "attempts"].includes(name) ? "number" : "", "aria-sort": "none" },
    element("button", { type: "button", class: name, onclick: () => {
      asked.down = asked.sort === name ? !asked.down : name !== "name" && name !== "message";
      asked.sort = name;
      refresh();
    } }, words)));
  const inner = element("div", { role: "presentation" });
  const view = element("div", { class: "view", tabindex: "0", role: "rowgroup", "aria-label": "Tests" }, inner);
  const grid = element("div", { class: "grid", role: "table", "aria-label": "Tests" }, element("div", { role: "rowgroup" }, element("div", { class: "row head", role: "row", "aria-rowindex": "1" }, ...heads)), view);
  const details = element("div", { "aria-live": "polite" });
  host.append(element("div", { class: "tools" }, search, inView, told), element("div", { class: "chips tools" }, ...chips), grid, details);

  const row = (test, place) => {
    const word = run.statuses[tests.status[test]], cell = (...content) => element("span", { role: "cell" }, ...content);
    const number = (text) => element("span", { role: "cell", class: "number" }, text);
    const name = element("span", { role: "cell", class: "name mono" }, tests.names[test] || "", element("i", {}, `${tests.names[test] ? "  " : ""}${tests.files[tests.file[test]]}`));
    const made = element("div", { class: `row${test === chosen ? " chosen" : ""}`, role: "row", "aria-rowindex": place + 2, "data-test": test },
      cell(statusPill(word)), name, number(duration(tests.wall[test])), number(duration(tests.cpu[test])), number(bytes(tests.rss[test])), number(String(tests.attempts[test])),
      cell(tests.messages[tests.message[test]] ?? ""));
    made.style.top = `${place * ROW}px`;
    return made;
  };

  let first = -1, last = -1;
  const fill = (again) => {
    const from = Math.max(0, Math.floor(view.scrollTop / ROW) - SPARE), to = Math.min(found.length, Math.ceil((view.scrollTop + view.clientHeight) / ROW) + SPARE);
    if (!again && from === first && to === last) return;
    [first, last] = [from, to];
    inner.replaceChildren(...Array.from(found.slice(from, to), (test, i) => row(test, from + i)));
  };
  view.addEventListener("scroll", () => fill(false), { passive: true });

  const keys = {
    status: (test) => tests.status[test], wall: (test) => tests.wall[test], cpu: (test) => tests.cpu[test], rss: (test) => tests.rss[test],
    attempts: (test) => tests.attempts[test],
  };
  const compare = () => {
    const side = asked.down ? -1 : 1, key = keys[asked.sort];
    if (key) return (a, b) => side * (key(a) - key(b)) || tests.wall[b] - tests.wall[a] || a - b;
    const text = asked.sort === "name" ? fullName : (test) => tests.messages[tests.message[test]] ?? "";
    const order = new Map();
    const words = (test) => { let known = order.get(test); if (known === undefined) order.set(test, (known = text(test))); return known; };
    return (a, b) => { const x = words(a), y = words(b); return x < y ? -side : x > y ? side : a - b; };
  };

  const refresh = () => {
    const wanted = asked.q.toLowerCase().split(/\s+/).filter(Boolean);
    if (wanted.length && !lowered) lowered = Array.from({ length: tests.n }, (_, test) => `${fullName(test)} ${tests.messages[tests.message[test]] ?? ""}`.toLowerCase());
    const statuses = new Set([...asked.status].map((word) => run.statuses.indexOf(word)));
    const matches = (test) => (!statuses.size || statuses.has(tests.status[test])) && wanted.every((word) => lowered[test].includes(word))
      && (!asked.inView || (tests.start[test] < time.to && tests.start[test] + tests.wall[test] > time.from));
    const kept = [];
    for (let test = 0; test < tests.n; test++) if (matches(test)) kept.push(test);
    found = kept.sort(compare());
    if (search.value !== asked.q) search.value = asked.q;
    inView.setAttribute("aria-pressed", asked.inView);
    chips.forEach((chip) => chip.setAttribute("aria-pressed", asked.status.has(chip.dataset.status)));
    heads.forEach((head, i) => {
      const isSorted = COLUMNS[i][0] === asked.sort;
      head.setAttribute("aria-sort", !isSorted ? "none" : asked.down ? "descending" : "ascending");
      head.firstChild.textContent = COLUMNS[i][1] + (isSorted ? (asked.down ? " ↓" : " ↑") : "");
    });
    told.textContent = found.length === tests.n ? count(tests.n, "test") : `${found.length.toLocaleString("en")} of ${count(tests.n, "test")}`;
    grid.setAttribute("aria-rowcount", found.length + 1);
    inner.style.height = `${found.length * ROW}px`;
    view.style.height = `${Math.max(1, found.length) * ROW + 1}px`;
    fill(true);
    writeHash(run);
  };

  const choose = (test, scroll) => {
    chosen = test;
    const message = tests.messages[tests.message[test]] ?? "";
    const show = element("button", { type: "button", onclick: () => showMoment(tests.start[test], tests.wall[test]) }, "Show on the timeline");
    details.replaceChildren(element("div", { class: "chosen-test" },
      element("div", {}, statusPill(run.statuses[tests.status[test]]), " ", element("b", { class: "mono" }, fullName(test))),
      element("p", { class: "soft small" }, testWords(run, test).split("\n")[2] + `; cpu ${duration(tests.cpu[test])}, memory ${bytes(tests.rss[test])}`),
      ...(message ? [element("pre", {}, message)] : []), ...(Number.isNaN(tests.start[test]) ? [] : [show])));
    if (scroll) {
      let place = found.indexOf(test);
      if (place < 0) {
        [asked.q, asked.inView] = ["", false];
        asked.status.clear();
        refresh();
        place = found.indexOf(test);
      }
      view.scrollTop = Math.max(0, place * ROW - view.clientHeight / 2);
      host.scrollIntoView({ block: "start" });
    }
    fill(true);
  };
  chooseTest = (test) => choose(test, true);
  inner.addEventListener("click", (event) => {
    const hit = event.target.closest("[data-test]");
    if (hit) choose(Number(hit.dataset.test), false);
  });
  view.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by || !found.length) return;
    event.preventDefault();
    const place = Math.min(Math.max(found.indexOf(chosen) + by, 0), found.length - 1);
    choose(found[place], false);
    if (place * ROW < view.scrollTop) view.scrollTop = place * ROW;
    if ((place + 1) * ROW > view.scrollTop + view.clientHeight) view.scrollTop = (place + 1) * ROW - view.clientHeight;
  });
  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { asked.q = search.value; refresh(); }, tests.n > 5000 ? 120 : 0);
  });
  inView.addEventListener("click", () => { asked.inView = !asked.inView; refresh(); });
  refresh();
  return { refresh, onView: () => (asked.inView ? refresh() : writeHash(run)) };
};

// Zoom to a moment and go there.
const showMoment = (t, length = 0) => {
  const span = Math.min(time.whole[1], Math.max(length * 8, time.whole[1] / 50));
  setView(t + length / 2 - span / 2, t + length / 2 + span / 2);
  setCursor(t);
  document.getElementById("gantt").scrollIntoView({ block: "start" });
};
