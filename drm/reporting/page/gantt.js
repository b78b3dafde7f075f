// Every executor's tests over time. Of all that shares a pixel, the worst is seen.
const TICKS = 14; // the row of failures above the lanes
const STARTUP = 1, IDLE = 2, DRAIN = 3, FIRST = 4; // what a pixel may show below any status

const laneHeight = (lanes) => (lanes <= 12 ? 20 : lanes <= 440 ? Math.floor(440 / lanes) : 440 / lanes);

const STATUS_COLOURS = ["skipped", "skipped", "xfailed", "passed", "xpassed", "flaky", "flaky", "failed", "error"];
const RETRIED = 6, FAILED = 7, ERROR = 8;

// The background of a worker's lanes: requested to ready, idle in between, and after its last test until it was gone. Of a
// worker that was lost and came back, an executor belongs to the time in which its first test began.
const backgrounds = (run) => run.lanes.map((lane) => {
  const worker = run.workers[lane.worker], { start, wall } = run.attempts;
  const ends = start[lane.end - 1] + wall[lane.end - 1];
  if (!worker) return [];
  let ready = worker.ready ?? 0, gone = worker.gone ?? run.wall, requested = worker.requested ?? ready;
  for (const [left, back] of worker.away) {
    if (start[lane.first] < left) {
      gone = left;
      break;
    }
    ready = requested = back;
  }
  return [[requested, ready, STARTUP], [ready, Math.min(ends, gone), IDLE], [Math.min(ends, gone), gone, DRAIN]];
});

const makeGantt = (host, run) => {
  const { tests, attempts, lanes } = run, height = laneHeight(lanes.length);
  if (!lanes.length) {
    host.append(element("p", { class: "nothing" }, "No test was started."));
    return null;
  }
  const rows = lanes.length * height, bottom = TICKS + rows + 4;
  const grounds = backgrounds(run);
  const critical = lanes.findIndex((lane) => lane.name && lane.name === run.makespan.last), path = critical < 0 ? null : lanes[critical];
  const failures = [];
  for (let i = 0; i < attempts.n; i++) if (attempts.status[i] >= FAILED) failures.push(i);
  host.append(element("p", { class: "lead" },
    `${count(lanes.length, "executor")}, ${count(tests.n, "test")}. Of all that shares a pixel the worst is seen; a tick above the lanes marks every failure. Drag to zoom all charts, double click to see all.`));

  // Fill in, per lane and pixel, the worst that is there; lanes thinner than a pixel share one.
  const cells = (width, slots, slotOf) => {
    const worst = new Uint8Array(slots * width), scale = width / (time.to - time.from);
    const place = (t) => (t - time.from) * scale;
    grounds.forEach((spans, lane) => spans.forEach(([from, to, what]) => {
      const a = Math.max(0, Math.floor(place(from))), b = Math.min(width, Math.ceil(place(to)));
      for (let at = slotOf[lane] * width + a, end = slotOf[lane] * width + b; at < end; at++) if (worst[at] < what) worst[at] = what;
    }));
    const { start, wall, status, lane } = attempts;
    for (let i = 0; i < attempts.n; i++) {
      let a = (start[i] - time.from) * scale;
      let b = a + wall[i] * scale;
      if (b < 0 || a >= width) continue;
      a = a < 0 ? 0 : a | 0;
      b = b > width ? width : Math.max(a + 1, Math.round(b));
      const rank = status[i] + FIRST;
      for (let at = slotOf[lane[i]] * width + a, end = slotOf[lane[i]] * width + b; at < end; at++) if (worst[at] < rank) worst[at] = rank;
    }
    return worst;
  };

  const paint = (context, box, ratio) => {
    const left = Math.round(box.left * ratio), width = Math.round(box.right * ratio) - left;
    timeAxis(context, box, TICKS, bottom);
    const image = context.createImageData(width, Math.round(rows * ratio)), thick = Math.max(height, 1 / ratio), slots = Math.round(rows / thick);
    const slotOf = Int32Array.from(lanes, (_, lane) => Math.min(Math.floor((lane * height) / thick + 1e-9), slots - 1)), worst = cells(width, slots, slotOf);
    const pixels = new Uint32Array(image.data.buffer), palette = STATUS_COLOURS.map((name) => channels(colours[name]));
    const solid = palette.map((colour) => packed(colour)), idle = packed(channels(colours.idle)), light = packed(channels(colours.bg));
    const striped = palette.map((colour) => packed(between(colour, channels(colours.bg), 0.55)));
    const inset = height >= 8 ? Math.round(2 * ratio) : height >= 4 ? 1 : 0, step = Math.round(4 * ratio);
    const ticked = new Uint8Array(width);
    for (let slot = 0; slot < slots; slot++) {
      const top = Math.round(slot * thick * ratio), end = Math.min(Math.round((slot + 1) * thick * ratio), image.height);
      for (let x = 0; x < width; x++) {
        const what = worst[slot * width + x];
        if (!what) continue;
        const isBad = what >= FIRST + FAILED, status = what - FIRST;
        if (isBad) ticked[x] = Math.max(ticked[x], status);
        // What failed fills its lane; all else leaves room between the lanes.
        const from = top + (isBad ? 0 : inset), to = end - (height >= 3 ? 1 : 0) - (isBad ? 0 : inset);
        for (let y = from; y < Math.max(to, from + 1) && y < end; y++) {
          let colour;
          if (what === STARTUP) colour = (x + y) % step < step / 2 ? idle : light;
          else if (what === DRAIN) colour = (x - y + 4096) % step < step / 2 ? idle : light;
          else if (what === IDLE) { if ((y - top) !== ((end - top) >> 1)) continue; colour = idle; }
          else colour = (status === ERROR || status === RETRIED) && (x + y) % step < step / 2 ? striped[status] : status === 0 && (x + y) % step < step / 2 ? light : solid[status];
          pixels[y * width + x] = colour;
        }
      }
    }
    overlay(context, image, left, Math.round(TICKS * ratio));
    for (let x = 0; x < width; x++) {
      if (!ticked[x]) continue;
      context.fillStyle = ticked[x] === ERROR ? colours.error : colours.failed;
      context.fillRect(box.left + x / ratio - 0.5, 2, 2, TICKS - 5);
    }
    if (path) markPath(context, box);
    if (failures.length) rowLabel(context, box, box.left < 100 ? `${failures.length} ✕` : `${count(failures.length, "failure")} ✕`, TICKS / 2);
    const every = Math.max(1, Math.ceil(14 / height));
    lanes.forEach((lane, i) => { if (i % every === 0) rowLabel(context, box, lane.name || run.workers[lane.worker]?.id || "?", TICKS + Math.max(i * height + height / 2, 6)); });
  };

  // The critical path: a line below the attempts that the end of the run hung on, broken where their executor idled.
  const markPath = (context, box) => {
    const { start, wall } = attempts, y = Math.min(TICKS + (critical + 1) * height - 1, bottom - 2), pixel = (time.to - time.from) / (box.right - box.left);
    let from = start[path.first], to = from;
    const draw = () => {
      const [a, b] = [from, to].map((t) => box.x(Math.min(Math.max(t, time.from), time.to)));
      if (to > time.from && from < time.to) context.fillRect(a, y, Math.max(1, b - a), 2);
    };
    context.fillStyle = colours.text;
    for (let i = path.first; i < path.end; i++) {
      if (start[i] - to > 2 * pixel) { draw(); from = start[i]; }
      to = Math.max(to, start[i] + wall[i]);
    }
    draw();
  };

  // Put the raster over what is drawn, its empty pixels transparent.
  const overlay = (context, image, x, y) => {
    const sheet = new OffscreenCanvas(image.width, image.height);
    sheet.getContext("2d").putImageData(image, 0, 0);
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(sheet, x, y);
    context.restore();
  };

  // The attempt at a place: the worst of those within three pixels.
  const laneAt = (y) => lanes[Math.floor(((y ?? TICKS) - TICKS) / height)];
  const at = (t, y, box) => {
    const reach = (3 / (box.right - box.left)) * (time.to - time.from), { start, wall, status } = attempts;
    let best = -1;
    const look = (i) => { if (start[i] <= t + reach && start[i] + wall[i] >= t - reach && (best < 0 || status[i] > status[best])) best = i; };
    const lane = laneAt(y);
    if (y !== null && y < TICKS) failures.forEach(look);
    else if (lane) for (let i = lane.first; i < lane.end; i++) look(i);
    return best;
  };

  makePlot(host, {
    label: "Tests of each executor", height: bottom + 22, paint, rows: () => height,
    moments: () => failures.map((i) => attempts.start[i]),
    tell: (t, y, box) => {
      const i = at(t, y, box), lane = laneAt(y);
      if (i >= 0) return attemptWords(run, i) + (attempts.lane[i] === critical ? "\non the critical path" : "");
      return lane && t >= time.from && t <= time.to ? `${lane.name || "executor"} is idle\nat ${clock(t)}${run.workers[lane.worker] ? `, worker ${run.workers[lane.worker].id}` : ""}` : null;
    },
    pick: (t, y, box) => {
      const i = at(t, y, box);
      if (i >= 0) chooseTest(attempts.test[i]);
    },
  });
  const swatch = (name, status) => (c, s) => {
    const inset = status >= FAILED ? 0 : 3;
    c.fillStyle = colours[name];
    c.fillRect(0, inset, s, s - 2 * inset);
    c.fillStyle = colours.bg;
    if (status === ERROR || status === RETRIED || status === 0) for (let x = 0; x < s; x += 4) c.fillRect(x, inset, 1.5, s - 2 * inset);
  };
  const stripes = (side) => (c, s) => {
    c.strokeStyle = colours.soft;
    for (let x = -s; x < 2 * s; x += 4) { c.beginPath(); c.moveTo(x, side > 0 ? s : 0); c.lineTo(x + s, side > 0 ? 0 : s); c.stroke(); }
  };
  const seen = new Set(attempts.status);
  const items = run.statuses.map((word, i) => [word, i]).filter(([, i]) => seen.has(i)).reverse()
    .map(([word, i]) => [`${GLYPHS[word] ?? "·"} ${word}`, swatch(STATUS_COLOURS[i], i)]);
  const underline = (c, s) => { c.fillStyle = colours.text; c.fillRect(0, s / 2 - 1, s, 2); };
  const key = legend([...items, ...(path ? [["critical path", underline]] : []), ["starting", stripes(1)], ["idle", (c, s) => { c.fillStyle = colours.soft; c.fillRect(0, s / 2, s, 1); }], ["draining", stripes(-1)]]);
  host.append(key.list);
  return key.paint;
};

const nameOf = (run, test) => run.tests.names[test] || run.tests.files[run.tests.file[test]];

// What is to be said of an attempt, or (without one) of a test.
const attemptWords = (run, i) => {
  const { attempts } = run;
  return testWords(run, attempts.test[i], attempts.status[i], attempts.start[i], attempts.wall[i], attempts.lane[i], attempts.number[i]);
};

const testWords = (run, test, status = run.tests.status[test], start = run.tests.start[test], wall = run.tests.wall[test], lane = run.tests.lane[test], number = run.tests.attempts[test]) => {
  const { tests } = run, word = run.statuses[status], on = run.lanes[lane];
  const where = on ? `, on ${on.name || run.workers[on.worker]?.id}` : "", message = tests.messages[tests.message[test]];
  return [
    `${GLYPHS[word] ?? "·"} ${word}: ${nameOf(run, test)}`,
    tests.files[tests.file[test]],
    Number.isNaN(start) ? "was not started" : `${duration(wall)} from ${clock(start)}${where}${number > 1 ? `, attempt ${number}` : ""}`,
    ...(message ? [message] : []),
  ].join("\n");
};
