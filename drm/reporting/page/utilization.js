// What workers used of what they have: a row for each worker and resource, and lines for the one that is chosen.
const RESOURCES = [["cpu", "CPU"], ["memory", "memory"], ["gpu", "GPU"], ["gpu_memory", "GPU memory"]];
const GROUP = 10; // pixels between one resource and the next
const FULL = 0.97; // of what there is: saturated

const makeUtilization = (host, run) => {
  const kinds = RESOURCES.filter(([name]) => run.samples.some((series) => series.of[name]));
  if (!kinds.length || !run.samples.some((series) => series.at.length)) {
    host.append(element("p", { class: "nothing" }, "No utilization was sampled."));
    return null;
  }
  const rows = kinds.flatMap(([name, words]) => run.samples.filter((series) => series.of[name] && series.at.length).map((series) => ({ series, name, words })));
  const height = rows.length <= 24 ? 20 : rows.length <= 460 ? Math.floor(460 / rows.length) : 460 / rows.length;
  const top = (row) => row * height + kinds.findIndex(([name]) => name === rows[row].name) * GROUP; // a gap between resources
  const whole = rows.length * height + kinds.length * GROUP;
  host.append(element("p", { class: "lead" }, `The darker, the more of a worker was used; a red tick below marks where it was saturated (97 % and more). Choose a row to see its lines.${rows.length > 460 ? " Of workers that share a pixel the busiest is seen." : ""}`));
  const lines = element("div");
  let shown = null;

  // Rows too thin for a tick of their own: one line below each resource, the redder the more workers were saturated.
  const tickGroups = (pixels, width, all, ratio, seen, saturated) => {
    const red = channels(colours.failed), ground = channels(colours.bg);
    kinds.forEach((_, kind) => {
      const last = rows.findLastIndex(({ name }) => name === kinds[kind][0]), from = Math.round((top(last) + height + 1) * ratio);
      for (let x = 0; x < width; x++) {
        if (!saturated[kind][x]) continue;
        const colour = packed(between(ground, red, Math.max(0.25, saturated[kind][x] / seen[kind][x])));
        for (let y = from; y < Math.min(from + 5 * ratio, all); y++) pixels[y * width + x] = colour;
      }
    });
  };

  const paint = (context, box, ratio) => {
    const left = Math.round(box.left * ratio), width = Math.round(box.right * ratio) - left, all = Math.round(whole * ratio);
    timeAxis(context, box, 0, whole + 2);
    const image = context.createImageData(width, all), pixels = new Uint32Array(image.data.buffer);
    const [low, high] = [channels(colours.heat0), channels(colours.heat1)], full = packed(channels(colours.failed));
    const palette = Array.from({ length: 256 }, (_, i) => packed(between(low, high, Math.min(1, i / 200))));
    const scale = width / (time.to - time.from), sum = new Float64Array(width), number = new Uint32Array(width), most = new Uint8Array(width), busiest = new Uint8Array(pixels.length);
    const [seen, saturated] = [0, 1].map(() => kinds.map(() => new Uint32Array(width)));
    rows.forEach(({ series, name }, row) => {
      const { used } = series.of[name], { at } = series;
      sum.fill(0); number.fill(0); most.fill(0);
      const first = Math.max(0, lastAt(at, time.from)), hold = at.length > 1 ? (3 * (at.at(-1) - at[0])) / (at.length - 1) : Infinity;
      for (let i = first; i < at.length && at[i] <= time.to; i++) {
        const until = Math.min(i + 1 < at.length ? at[i + 1] : at[i] + hold / 3, at[i] + hold);
        const a = Math.max(0, Math.floor((at[i] - time.from) * scale)), b = Math.min(width, Math.max(a + 1, Math.floor((until - time.from) * scale)));
        for (let x = a; x < b; x++) { sum[x] += used[i]; number[x]++; if (used[i] > most[x]) most[x] = used[i]; }
      }
      const from = Math.round(top(row) * ratio), end = Math.round((top(row) + height) * ratio), gap = height >= 4 ? Math.round(2 * ratio) : height >= 2 ? 1 : 0;
      const isShared = height * ratio < 1; // of workers that share a pixel, the busiest is seen
      const tick = height >= 4 ? Math.round((height >= 8 ? 3 : 1) * ratio) : 0, kind = kinds.findIndex(([known]) => known === name);
      for (let x = 0; x < width; x++) {
        if (!number[x]) continue;
        const share = Math.round(sum[x] / number[x]), isFull = most[x] >= FULL * 200;
        seen[kind][x]++;
        saturated[kind][x] += isFull;
        for (let y = from, to = Math.max(end - gap, from + 1); y < to; y++) {
          const at = y * width + x;
          if (isShared && busiest[at] > share) continue;
          busiest[at] = share;
          pixels[at] = isFull && y >= to - tick ? full : palette[share];
        }
      }
    });
    if (height < 4) tickGroups(pixels, width, all, ratio, seen, saturated);
    const sheet = new OffscreenCanvas(image.width, image.height);
    sheet.getContext("2d").putImageData(image, 0, 0);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(sheet, left, 0);
    context.restore();
    let free = 0;
    rows.forEach(({ series, words }, row) => {
      const middle = Math.max(top(row) + height / 2, 6);
      if (middle < free) return;
      rowLabel(context, box, `${series.id} ${words}`, middle);
      free = middle + 14;
    });
    if (shown !== null && height >= 4) {
      context.strokeStyle = colours.text;
      context.strokeRect(box.left + 0.5, top(shown) + 0.5, box.right - box.left - 1, height - 2);
    }
  };

  const rowAt = (y) => rows.findIndex((_, row) => y >= top(row) && y < top(row) + height);
  const plot = makePlot(host, {
    label: "Utilization of each worker", height: whole + 24, paint, rows: () => height,
    tell: (t, y) => {
      const found = rows[rowAt(y ?? 0)];
      if (!found || t < time.from || t > time.to) return null;
      const { series, name, words } = found, at = Math.max(0, lastAt(series.at, t)), { most, used, reserved } = series.of[name];
      const tell = amountOf[name] ?? bytes;
      return `${series.id} ${words}: ${Math.round(used[at] / 2)} %${used[at] >= FULL * 200 ? ", saturated" : ""}\nat ${clock(series.at[at])}: ${tell((used[at] * most) / 200)} used, ${tell((reserved[at] * most) / 200)} reserved, of ${tell(most)}`;
    },
    pick: (t, y) => {
      const row = rowAt(y);
      if (!rows[row]) return;
      shown = shown === row ? null : row;
      showLines(shown === null ? null : rows[shown]);
      drawSoon();
    },
  });
  const showLines = (found) => {
    plots.splice(0, plots.length, ...plots.filter((known) => !lines.contains(known.root)));
    lines.replaceChildren();
    if (!found) return;
    const { series, name, words } = found, { most, used, reserved } = series.of[name];
    lines.append(element("h3", {}, `${series.id}: ${words}, used (area) and reserved (line), % of ${(amountOf[name] ?? bytes)(most)}`));
    const share = (values) => Array.from(values, (value) => value / 2);
    const data = [Array.from(series.at), share(used), share(reserved)], top = Math.max(105, ...data[1], ...data[2]);
    const paths = uPlot.paths.stepped({ align: 1 }); // a worker tells of a change: until then it was as before
    const chart = uplotChart({
      data, y: { range: () => [0, top], words: (value) => `${value} %` },
      series: () => [
        { stroke: colours.used, width: 1.5, fill: `${colours.used}40`, paths, points: { show: false } },
        { stroke: colours.reserved, width: 1.5, paths, points: { show: false } },
      ],
    });
    makePlot(lines, {
      label: `${series.id} ${words}`, height: 150, chart,
      tell: (t) => {
        const at = Math.max(0, lastAt(series.at, t));
        return t < time.from || t > time.to ? null : `${clock(series.at[at])}\n${data[1][at]} % used, ${data[2][at]} % reserved`;
      },
    });
    announce(`Lines of ${series.id} ${words} are shown`);
  };
  host.append(lines);
  const key = legend([
    ["nothing used", (c, s) => { c.fillStyle = colours.heat0; c.fillRect(0, 2, s, s - 4); }],
    ["half", (c, s) => { c.fillStyle = `rgb(${between(channels(colours.heat0), channels(colours.heat1), 0.5)})`; c.fillRect(0, 2, s, s - 4); }],
    ["all", (c, s) => { c.fillStyle = colours.heat1; c.fillRect(0, 2, s, s - 4); }],
    ["saturated", (c, s) => { c.fillStyle = colours.heat1; c.fillRect(0, 2, s, s - 4); c.fillStyle = colours.failed; c.fillRect(0, s - 5, s, 3); }],
  ]);
  host.append(key.list);
  return key.paint;
};
