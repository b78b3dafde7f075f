// How long tests waited for resources, how many got them, and what a few executors more or less would have done.
const ROLLING = 50; // tests over which the success rate rolls

// Of each moment at which a test got resources or was refused them: the rate among the last so many.
const rollingRate = (asked) => {
  const rate = { at: [], rate: [] };
  let good = 0;
  asked.forEach(({ at, placed }, i) => {
    good += placed - (i >= ROLLING ? asked[i - ROLLING].placed : 0);
    rate.at.push(at);
    rate.rate.push((100 * good) / Math.min(i + 1, ROLLING));
  });
  return rate;
};

const makeOptimization = (host, run) => {
  const { attempts, refusals } = run;
  if (!attempts.n && !refusals.length) {
    host.append(element("p", { class: "nothing" }, "No test asked for resources."));
    return null;
  }
  host.append(element("p", { class: "lead" }, "Each dot is an attempt: when it got its resources, and how long it had waited for them. A cross is a test that was refused them."));
  const asked = [...Array.from(attempts.start, (at, i) => ({ at, wait: attempts.wait[i], placed: 1, i })), ...refusals.map((refusal) => ({ ...refusal, placed: 0 }))];
  asked.sort((a, b) => a.at - b.at);
  const moments = asked.map(({ at }) => at), rate = rollingRate(asked);
  const most = asked.reduce((top, { wait }) => Math.max(top, wait), 0) || 1;
  const chart = uplotChart({
    data: [[0, run.wall], [null, null]],
    y: { range: () => [-most * 0.04, most * 1.08], words: (value) => (value < 0 ? "" : duration(value)) },
    series: () => [{ points: { show: false } }],
    after: (context, u) => {
      const dot = Math.max(2, Math.round((asked.length > 3000 ? 2 : 4) * devicePixelRatio)), drawn = new Set();
      const x = (t) => u.valToPos(t, "x", true), y = (wait) => u.valToPos(wait, "y", true);
      for (const { at, wait, placed, i } of asked) {
        if (!placed || at < time.from || at > time.to) continue;
        const left = Math.round(x(at) - dot / 2), top = Math.round(y(wait) - dot / 2), isRetried = attempts.status[i] === RETRIED;
        const key = (left * 65536 + top) * 2 + isRetried;
        if (drawn.has(key)) continue; // the same pixel
        drawn.add(key);
        context.fillStyle = isRetried ? colours.flaky : colours.used;
        if (isRetried) context.fillRect(left - dot / 2, top - dot / 2, 2 * dot, 2 * dot);
        else context.fillRect(left, top, dot, dot);
      }
      for (const { at, wait } of refusals) if (at >= time.from && at <= time.to) decisionMark(context, "denied", x(at), y(wait), 5 * devicePixelRatio);
    },
  });
  makePlot(host, {
    label: "Allocation time of each attempt", height: 170, chart, moments: () => refusals.map(({ at }) => at),
    tell: (t, y, box) => {
      if (t < time.from || t > time.to) return null;
      const reach = (7 / (box.right - box.left)) * (time.to - time.from), refused = refusals.find(({ at }) => Math.abs(at - t) < reach);
      if (refused) return `✕ refused at ${clock(refused.at)}: ${refused.name}\n${refused.reason}\nafter ${duration(refused.wait)}`;
      const i = lastAt(moments, t), found = asked[i];
      return found ? `${clock(found.at)}: ${found.placed ? nameOf(run, attempts.test[found.i]) : found.name}\n${found.placed ? "placed" : "refused"} after ${duration(found.wait)}; ${rate.rate[i].toFixed(0)} % of the last ${Math.min(i + 1, ROLLING)} got resources` : null;
    },
  });
  host.append(element("h3", {}, `Success rate over the last ${ROLLING}`));
  const rateChart = uplotChart({
    data: [rate.at, rate.rate],
    y: { range: () => [0, 112], words: (value) => `${value} %`, splits: () => [0, 50, 100] },
    series: () => [{ stroke: colours.passed, width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: rate.at.length === 1 } }],
  });
  makePlot(host, {
    label: "Allocation success rate", height: 96, chart: rateChart,
    tell: (t) => {
      const r = lastAt(rate.at, t);
      return r < 0 || t < time.from || t > time.to ? null : `${rate.rate[r].toFixed(1)} % at ${clock(rate.at[r])}\nof the last ${Math.min(r + 1, ROLLING)} got resources`;
    },
  });
  const hasRetried = attempts.status.includes(RETRIED);
  const key = legend([
    [`placed (${attempts.n.toLocaleString("en")})`, (c) => { c.fillStyle = colours.used; c.fillRect(5, 5, 4, 4); }],
    ...(hasRetried ? [["placed, ended from outside and tried again", (c) => { c.fillStyle = colours.flaky; c.fillRect(3, 3, 8, 8); }]] : []),
    ...(run.refused ? [[`refused (${run.refused.toLocaleString("en")})`, (c, s) => decisionMark(c, "denied", s / 2, s / 2, 4.5)]] : []),
  ]);
  host.append(key.list, element("div", { class: "parts" }, whatIf(run), criticalPath(run), predictionQuality(run)));
  return key.paint;
};

const whatIf = (run) => {
  const { whatIf: cases, unit } = run.makespan, longest = Math.max(...cases.map(([, seconds]) => seconds), 0) || 1;
  const now = cases.length > 2 ? (cases.length === 5 ? cases[2][0] : cases.at(-3)[0]) : null, meter = element("div", { class: "meter" });
  for (const [number, seconds] of cases) {
    const bar = element("i", { class: number === now ? "now" : "" });
    bar.style.width = `${(100 * seconds) / longest}%`;
    meter.append(element("span", {}, `${count(number, unit.slice(0, -1))}${number === now ? " ◂" : ""}`), element("span", {}, bar), element("span", {}, duration(seconds)));
  }
  return element("div", {}, element("h3", {}, `With a few ${unit} more or less`),
    cases.length ? meter : element("p", { class: "soft small" }, "No test was started."),
    element("p", { class: "soft small" }, "◂ as it was. The measured durations in the order of their starts, each where there is room first: read the differences."));
};

// What the end of the run hung on.
const criticalPath = (run) => {
  const { tests, makespan } = run, list = element("dl", { class: "facts small" });
  const share = (value, of) => (of > 0 ? ` (${Math.round((100 * value) / of)} %)` : "");
  const add = (name, ...words) => list.append(element("dt", {}, name), element("dd", {}, ...words));
  add("makespan", `${duration(makespan.tests)} from the first start to the last end`);
  if (makespan.planned) add("first plan", duration(makespan.planned));
  if (makespan.bound) add("lower bound", `${duration(makespan.bound)}${share(makespan.bound, makespan.tests)} on ${count(makespan.slots, "executor")}`);
  if (makespan.last) add("critical path", `${makespan.last} ended last: ${count(makespan.steps, "attempt")}, ${duration(makespan.idle)} idle before or between them`);
  let top = -1;
  for (let test = 0; test < tests.n; test++) if (tests.lane[test] >= 0 && (top < 0 || tests.wall[test] > tests.wall[top])) top = test;
  if (top >= 0) add("longest test", element("button", { class: "link", type: "button", onclick: () => chooseTest(top) }, nameOf(run, top)), `, ${duration(tests.wall[top])}`);
  return element("div", {}, element("h3", {}, "What the end hung on"), list);
};

// How good the forecasts were that the run was planned by.
const predictionQuality = ({ prediction }) => {
  const percent = (value) => `${(100 * value).toFixed(0)} %`, list = element("dl", { class: "facts small" });
  const add = (name, words) => list.append(element("dt", {}, name), element("dd", {}, words));
  if (prediction.timed) {
    add("error", `median ${percent(prediction.error)} of a test's duration, ${percent(prediction.weighted)} of all time`);
    add("foreseen", `durations of ${count(prediction.timed, "attempt")}`);
  }
  if (prediction.sized) {
    add("coverage", `${percent(prediction.covered)} of ${count(prediction.sized, "attempt")} kept to the memory reserved for them`);
    add("wasted", `${prediction.wasted.toPrecision(2)} of ${prediction.reserved.toPrecision(2)} GiB-hours reserved were not used`);
  }
  return element("div", {}, element("h3", {}, "How good the predictions were"),
    list.firstChild ? list : element("p", { class: "soft small" }, "Nothing was known of these tests beforehand."));
};
