// Workers wanted and running, and every decision on the lane of its reason.
const ARROWS = { up: "▲", down: "▼", denied: "✕", hold: "○" };
const LANE = 22;

// The steps of how many workers ran and were wanted, from the start to the end.
const workerSteps = (run) => {
  const steps = { at: [0], running: [0], wanted: [0] };
  const add = (at, running, wanted) => { steps.at.push(Math.max(at, steps.at.at(-1))); steps.running.push(running); steps.wanted.push(wanted); };
  for (const step of run.pool) add(...step);
  add(run.wall, steps.running.at(-1), steps.wanted.at(-1));
  return steps;
};

const lastAt = (sorted, t) => {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= t) low = middle + 1; else high = middle;
  }
  return low - 1;
};

const signed = (number) => (number > 0 ? `+${number}` : number < 0 ? `−${-number}` : "±0");

const decisionWords = (decision) => [
  `${ARROWS[decision.action]} ${decision.action}${decision.times > 1 ? ` (${decision.times} times)` : ""} at ${clock(decision.t)}: ${decision.type}, ` +
    `${decision.workers} → ${decision.wanted}${decision.granted !== decision.wanted ? ` (granted ${decision.granted})` : ""}`,
  decision.reason,
  `trigger ${decision.code}: ${decision.trigger}`,
  ...(decision.limits.length ? [`limits hit: ${decision.limits.join(", ")}`] : []),
  ...(decision.rejected.length ? [`rejected: ${decision.rejected.join("; ")}`] : []),
  ...(decision.inputs.length ? [`known then: ${decision.inputs.map(([name, value]) => `${name} ${value}`).join(", ")}`] : []),
  ...outcomeWords(decision),
].join("\n");

const outcomeWords = (decision) => {
  const words = [];
  if (decision.outcome) words.push(decision.outcome);
  if (decision.changed) words.push(`${decision.done} of ${count(decision.changed, decision.type.startsWith("executors of") ? "executor" : "worker")} ${decision.action === "down" ? "gone" : "came"}${decision.latency === null ? "" : ` within ${duration(decision.latency)}`}`);
  if (decision.cost) words.push(`cost ${decision.cost.toFixed(4)} USD`);
  return words.length ? [`outcome: ${words.join("; ")}`] : [];
};

const decisionColour = (action) => ({ up: colours.accent, down: colours.flaky, denied: colours.failed, hold: colours.skipped })[action];

// Draw the sign of a decision: a triangle up or down, a cross, a ring.
const decisionMark = (context, action, x, y, size) => {
  context.fillStyle = context.strokeStyle = decisionColour(action);
  context.lineWidth = size / 3;
  context.beginPath();
  if (action === "denied") {
    for (const side of [-1, 1]) { context.moveTo(x - size * 0.8, y - side * size * 0.8); context.lineTo(x + size * 0.8, y + side * size * 0.8); }
    context.stroke();
  } else if (action === "hold") {
    context.lineWidth = size / 4;
    context.arc(x, y, size * 0.6, 0, 7);
    context.stroke();
  } else {
    const side = action === "up" ? -1 : 1;
    context.moveTo(x - size, y - side * size * 0.7);
    context.lineTo(x + size, y - side * size * 0.7);
    context.lineTo(x, y + side * size);
    context.fill();
  }
};

const makeScaling = (host, run) => {
  if (!run.workers.length && !run.scaling.length) {
    host.append(element("p", { class: "nothing" }, "No worker and no decision was recorded."));
    return null;
  }
  host.append(element("p", { class: "lead" }, `How many ${run.scaled}s were wanted and how many ran; below, each decision on the lane of its reason. Point at one for the whole reason.`));
  const steps = workerSteps(run), most = Math.max(1, ...steps.running, ...steps.wanted);
  const stepped = uPlot.paths.stepped({ align: 1 });
  const nearest = (t, box) => {
    const reach = (8 / (box.right - box.left)) * (time.to - time.from);
    let best = null;
    for (const decision of run.scaling) {
      const away = Math.abs(decision.t - t);
      if (away <= reach && (!best || away < Math.abs(best.t - t) || (away === Math.abs(best.t - t) && decision.action !== "hold"))) best = decision;
    }
    return best;
  };
  const chart = uplotChart({
    data: [steps.at, steps.running, steps.wanted],
    y: { range: () => [0, most * 1.15], words: (value) => (Number.isInteger(value) ? String(value) : "") },
    series: () => [
      { stroke: colours.accent, width: 2, fill: colours.tint, paths: stepped, points: { show: false } },
      { stroke: colours.reserved, width: 1.5, dash: [5, 4], paths: stepped, points: { show: false } },
    ],
    after: (context, u) => {
      const size = 5 * devicePixelRatio;
      for (const decision of run.scaling) {
        if (decision.action === "hold" || decision.t < time.from || decision.t > time.to) continue;
        const value = decision.action === "denied" ? decision.wanted : null;
        const at = lastAt(steps.at, decision.t);
        decisionMark(context, decision.action, u.valToPos(decision.t, "x", true), u.valToPos(Math.max(value ?? 0, steps.running[at]), "y", true), size);
      }
    },
  });
  makePlot(host, {
    label: run.scaled === "worker" ? "Workers wanted and running" : "Executors wanted and running", height: 190, chart, moments: () => run.scaling.map((decision) => decision.t),
    tell: (t, y, box) => {
      const decision = nearest(t, box), at = Math.max(0, lastAt(steps.at, t));
      const state = `${clock(t)}\n${count(steps.running[at], run.scaled)} running, ${steps.wanted[at]} wanted`;
      return t < time.from || t > time.to ? null : decision ? decisionWords(decision) : state;
    },
  });
  const items = [
    ["running", (c, s) => { c.fillStyle = colours.tint; c.fillRect(0, 3, s, s - 3); c.fillStyle = colours.accent; c.fillRect(0, 2, s, 2); }],
    ["wanted", (c, s) => { c.fillStyle = colours.reserved; c.fillRect(0, 6, 5, 2); c.fillRect(9, 6, 5, 2); }],
    ...["up", "down", "denied", "hold"].filter((action) => run.scaling.some((decision) => decision.action === action))
      .map((action) => [action === "up" ? "scaled up" : action === "down" ? "scaled down" : action === "hold" ? "decided to hold" : "denied", (c, s) => decisionMark(c, action, s / 2, s / 2, 4.5)]),
  ];
  if (run.scaling.length) makeLanes(host, run, nearest);
  const key = legend(items);
  host.append(key.list);
  return key.paint;
};

const makeLanes = (host, run, nearest) => {
  const codes = [...new Set(run.scaling.map((decision) => decision.code))];
  const of = codes.map((code) => run.scaling.filter((decision) => decision.code === code));
  const laneAt = (y) => (y === null ? -1 : Math.floor(y / LANE));
  const near = (t, y, box) => {
    const lane = of[laneAt(y)];
    if (!lane) return nearest(t, box);
    const reach = (9 / (box.right - box.left)) * (time.to - time.from);
    return lane.reduce((best, decision) => (Math.abs(decision.t - t) <= reach && (!best || Math.abs(decision.t - t) < Math.abs(best.t - t)) ? decision : best), null);
  };
  makePlot(host, {
    label: "Scaling decisions by reason", height: codes.length * LANE + 4, rows: () => LANE, moments: () => run.scaling.map((decision) => decision.t),
    tell: (t, y, box) => {
      const decision = near(t, y, box);
      return decision ? decisionWords(decision) : null;
    },
    paint: (context, box) => {
      of.forEach((decisions, lane) => {
        const y = lane * LANE + LANE / 2;
        rowLabel(context, box, codes[lane].replaceAll("_", " "), y);
        context.fillStyle = colours.grid;
        context.fillRect(box.left, Math.round(y), box.right - box.left, 1);
        let free = -1;
        context.textBaseline = "middle";
        context.textAlign = "left";
        decisions.forEach((decision, i) => {
          const x = box.x(decision.t);
          if (x < box.left - 1 || x > box.right + 1) return;
          decisionMark(context, decision.action, x, y, 4.5);
          const words = decision.action === "hold" ? "" : signed(decision.wanted - decision.workers);
          const next = i + 1 < decisions.length ? box.x(decisions[i + 1].t) : Infinity, end = x + 9 + context.measureText(words).width;
          if (!words || x - 5 < free || end + 6 > next || end > box.width) return;
          context.fillStyle = colours.soft;
          context.fillText(words, x + 9, y);
          free = end;
        });
      });
    },
  });
};
