// What every chart over time can do: be drawn, show the shared cursor, be dragged over to zoom, be read with the keys.
const plots = [], plotOf = new WeakMap();
let drawing = 0;

// Only charts in sight, or nearly, are drawn; each of the others when it comes there.
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const plot = plotOf.get(target);
    plot.isNear = isIntersecting;
    if (isIntersecting) plot.drawIfStale();
  }
  moveLines();
}, { rootMargin: "100px 0px" });

const forgetPlots = () => {
  watcher.disconnect();
  plots.length = 0;
};

addEventListener("beforeprint", () => plots.forEach((plot) => plot.drawIfStale()));

const gutter = (width) => (width < 600 ? 78 : 116);
const RIGHT = 14;

const drawSoon = () => {
  if (drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    const began = performance.now();
    for (const plot of plots) {
      plot.isStale = true;
      if (plot.isNear) plot.drawIfStale();
    }
    moveLines();
    document.documentElement.dataset.drawMs = (performance.now() - began).toFixed(1);
    document.documentElement.dataset.draws = Number(document.documentElement.dataset.draws ?? 0) + 1;
  });
};

const moveLines = () => plots.forEach((plot) => plot.moveLine());

const tip = {
  show(text, x, y) {
    const box = document.getElementById("tip"), [first, ...rest] = text.split("\n");
    box.replaceChildren(element("b", {}, first), rest.length ? `\n${rest.join("\n")}` : "");
    box.style.visibility = "visible";
    const { offsetWidth: w, offsetHeight: h } = box;
    const left = x + 14 + w > innerWidth - 8 ? Math.max(8, x - w - 14) : x + 14;
    const top = y + 14 + h > innerHeight - 8 ? Math.max(8, y - h - 14) : y + 14;
    box.style.transform = `translate(${left}px, ${top}px)`;
  },
  hide() { document.getElementById("tip").style.visibility = "hidden"; },
};

// `paint(context, box)`: draw; box has width, height, left, right, x(t). `tell(t, y, box)`: the words for a place, or null.
// `moments()`: times worth stopping at. `rows`: how far arrow up and down move. `pick(t, y, box)`: on a click.
const makePlot = (host, { label, height, paint, tell, moments = () => [], rows = 0, pick = null, chart = null }) => {
  const canvas = chart ? null : element("canvas", { "aria-hidden": "true" });
  const line = element("div", { class: "line" }), band = element("div", { class: "band" });
  const root = element("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": `${label}; time`, "aria-valuemin": "0" });
  root.append(...(canvas ? [canvas] : []), line, band);
  root.style.height = `${height}px`;
  host.append(root);
  const box = { width: 0, height, left: 0, right: 0, x: (t) => box.left + ((t - time.from) / (time.to - time.from)) * (box.right - box.left),
    t: (x) => time.from + ((x - box.left) / (box.right - box.left)) * (time.to - time.from) };
  let row = null;

  const draw = () => {
    box.width = root.clientWidth;
    if (!box.width) return;
    box.left = gutter(box.width);
    box.right = box.width - RIGHT;
    if (chart) { chart.draw(root, box); return; }
    const ratio = devicePixelRatio || 1, w = Math.round(box.width * ratio), h = Math.round(box.height * ratio);
    if (canvas.width !== w || canvas.height !== h) {
      [canvas.width, canvas.height] = [w, h];
      [canvas.style.width, canvas.style.height] = [`${box.width}px`, `${box.height}px`];
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    context.font = FONT;
    paint(context, box, ratio);
  };

  const moveLine = () => {
    const t = time.cursor, seen = t !== null && t >= time.from && t <= time.to;
    line.style.visibility = seen ? "visible" : "hidden";
    line.style.height = `${box.height}px`;
    if (seen) line.style.transform = `translateX(${Math.round(box.x(t))}px)`;
    root.setAttribute("aria-valuemax", time.whole[1].toFixed(3));
    root.setAttribute("aria-valuenow", (t ?? time.from).toFixed(3));
    if (document.activeElement !== root) root.setAttribute("aria-valuetext", clock(t ?? time.from));
  };

  const place = (event) => {
    const around = root.getBoundingClientRect();
    return [event.clientX - around.left, event.clientY - around.top];
  };
  let down = null;
  root.addEventListener("pointerdown", (event) => {
    plot.drawIfStale();
    if (event.button !== 0) return;
    down = Math.min(Math.max(place(event)[0], box.left), box.right);
    if (event.pointerType === "mouse") root.setPointerCapture(event.pointerId);
  });
  root.addEventListener("pointermove", (event) => {
    plot.drawIfStale();
    const [x, y] = place(event), inside = x >= box.left && x <= box.right;
    setCursor(inside || down !== null ? box.t(Math.min(Math.max(x, box.left), box.right)) : null);
    if (down !== null && Math.abs(x - down) > 3) {
      const [a, b] = [Math.min(down, x), Math.max(down, x)].map((value) => Math.min(Math.max(value, box.left), box.right));
      band.style.visibility = "visible";
      band.style.height = `${box.height}px`;
      band.style.width = `${b - a}px`;
      band.style.transform = `translateX(${a}px)`;
    }
    const words = tell && tell(box.t(x), y, box, inside);
    if (words) tip.show(words, event.clientX, event.clientY);
    else tip.hide();
  });
  const finish = (event) => {
    const from = down;
    [down, band.style.visibility] = [null, "hidden"];
    if (from === null || event.type === "pointercancel") return;
    const [x, y] = place(event);
    if (Math.abs(x - from) > 3) setView(box.t(from), box.t(Math.min(Math.max(x, box.left), box.right)));
    else if (pick) pick(box.t(x), y, box);
  };
  root.addEventListener("pointerup", finish);
  root.addEventListener("pointercancel", finish);
  root.addEventListener("pointerleave", () => { if (down === null) { setCursor(null); tip.hide(); } });
  root.addEventListener("dblclick", resetView);
  root.addEventListener("blur", tip.hide);
  root.addEventListener("keydown", (event) => {
    plot.drawIfStale();
    const span = time.to - time.from, now = time.cursor ?? time.from;
    const stops = () => moments().filter((t) => Number.isFinite(t)).sort((a, b) => a - b);
    const steps = {
      ArrowLeft: () => now - span / (event.shiftKey ? 10 : 100),
      ArrowRight: () => now + span / (event.shiftKey ? 10 : 100),
      Home: () => time.from, End: () => time.to,
      PageDown: () => stops().find((t) => t > now + 1e-9) ?? now,
      PageUp: () => stops().findLast((t) => t < now - 1e-9) ?? now,
    };
    const height = rows ? rows(box) : 0;
    if (steps[event.key]) setCursor(steps[event.key]());
    else if (height && event.key === "ArrowDown") row = Math.min((row ?? -height / 2) + height, box.height - 1);
    else if (height && event.key === "ArrowUp") row = Math.max((row ?? height) - height, height / 2);
    else if (event.key === "+" || event.key === "=") zoomBy(0.5, now);
    else if (event.key === "-") zoomBy(2, now);
    else if (event.key === "Escape" || event.key === "0") resetView();
    else if (event.key === "Enter" && pick) pick(now, row ?? box.height / 2, box);
    else return;
    event.preventDefault();
    if (time.cursor !== null && (time.cursor < time.from || time.cursor > time.to)) setView(time.cursor - span / 2, time.cursor + span / 2);
    const words = tell && tell(time.cursor ?? now, row, box, true);
    root.setAttribute("aria-valuetext", `${clock(time.cursor ?? now)}${words ? `, ${words.replaceAll("\n", ", ")}` : ""}`);
    const around = root.getBoundingClientRect();
    if (words) tip.show(words, around.left + box.x(time.cursor ?? now), around.top + Math.min(row ?? 0, box.height));
    else tip.hide();
  });
  const plot = { moveLine, root, box, isStale: true, isNear: false, drawIfStale: () => {
    if (!plot.isStale || !root.clientWidth) return;
    plot.isStale = false;
    draw();
  } };
  plots.push(plot);
  plotOf.set(root, plot);
  watcher.observe(root);
  return plot;
};

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

const timeAxis = (context, box, top, bottom) => {
  context.strokeStyle = colours.grid;
  context.fillStyle = colours.soft;
  context.textAlign = "center";
  context.textBaseline = "top";
  context.beginPath();
  let free = 0;
  for (const t of ticks(time.from, time.to, box.right - box.left)) {
    const x = Math.round(box.x(t)) + 0.5, words = clock(t), half = context.measureText(words).width / 2;
    context.moveTo(x, top);
    context.lineTo(x, bottom);
    if (x - half > free && x + half <= box.width) { context.fillText(words, x, bottom + 5); free = x + half + 6; }
  }
  context.stroke();
};

const fit = (context, text, width) => {
  if (context.measureText(text).width <= width) return text;
  let cut = text;
  while (cut.length > 1 && context.measureText(`${cut}…`).width > width) cut = cut.slice(0, -1);
  return `${cut}…`;
};

const rowLabel = (context, box, text, y) => {
  context.fillStyle = colours.soft;
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText(fit(context, text, box.left - 14), box.left - 8, y);
};

// A chart that uPlot draws, on the shared axis; its own cursor is left out, because ours goes over all charts.
const uplotChart = ({ data, series, y, after }) => {
  let made = null, colour = null, size = "";
  const options = (box) => ({
    width: box.width, height: box.height, legend: { show: false }, cursor: { show: false }, padding: [8, RIGHT, 0, 0],
    scales: { x: { time: false, auto: false, range: () => [time.from, time.to] }, y: { range: y.range } },
    axes: [
      { size: 26, gap: 4, font: FONT, stroke: () => colours.soft, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false },
        splits: (u) => ticks(time.from, time.to, u.bbox.width / devicePixelRatio), values: (u, splits) => splits.map(clock) },
      { size: box.left, gap: 6, font: FONT, stroke: () => colours.soft, grid: { stroke: () => colours.grid, width: 1 }, ticks: { show: false },
        values: (u, splits) => splits.map(y.words), ...(y.splits ? { splits: y.splits } : {}) },
    ],
    series: [{}, ...series()],
    hooks: after ? { draw: [(u) => { u.ctx.save(); after(u.ctx, u); u.ctx.restore(); }] } : {},
  });
  return {
    draw(root, box) {
      const now = `${box.width}x${box.height}`;
      if (!made || colour !== colours || size !== now) {
        made?.destroy();
        made = new uPlot(options(box), data, (u, init) => { root.prepend(u.root); init(); });
        made.root.setAttribute("aria-hidden", "true");
        [colour, size] = [colours, now];
      }
      made.setScale("x", { min: time.from, max: time.to });
    },
  };
};
