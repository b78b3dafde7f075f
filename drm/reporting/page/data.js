// The payload: u32 length, JSON header, columns (see page_columns.py and page_data.py); gzip; base64.
const readPayload = async (text) => {
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(whole.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(whole.subarray(4, 4 + length)));
  if (header.version !== 1) throw new Error(`this page reads payload 1, not ${header.version}`);
  const body = whole.subarray(4 + length);
  return { ...header, column: (place) => readColumn(body, place) };
};

const readColumn = (body, [offset, count, kind]) => {
  if (kind === "d") {
    const values = new Uint8Array(count);
    for (let i = 0, now = 0; i < count; i++) values[i] = now = (now + body[offset + i]) & 255;
    return values;
  }
  const values = kind === "z" ? new Int32Array(count) : new Uint32Array(count);
  const a = offset, b = a + count, c = b + count, d = c + count;
  for (let i = 0; i < count; i++) {
    const value = (body[a + i] | (body[b + i] << 8) | (body[c + i] << 16) | (body[d + i] << 24)) >>> 0;
    values[i] = kind === "z" ? (value >>> 1) ^ -(value & 1) : value;
  }
  return values;
};

const sums = (steps) => {
  const values = new Float64Array(steps.length);
  for (let i = 0, now = 0; i < steps.length; i++) values[i] = now += steps[i];
  return values;
};

// One run with its columns read; times in seconds. Of a test that never started, start is NaN and lane -1; wall, start
// and lane are those of its last attempt. `attempts` lie lane by lane, in the order of their starts.
const readRun = (payload, run) => {
  const { column } = payload, raw = run.tests, n = raw.names.length, tried = run.attempts;
  const tests = {
    n, names: raw.names, files: raw.files, messages: raw.messages,
    file: sums(column(raw.file)), message: column(raw.message), status: column(raw.status),
    cpu: Float64Array.from(column(raw.cpu), (value) => value / 10000),
    rss: Float64Array.from(column(raw.rss), (value) => value * 65536),
    wall: new Float64Array(n), attempts: new Uint32Array(n), start: new Float64Array(n).fill(NaN), lane: new Int32Array(n).fill(-1),
  };
  const gap = column(tried.gap), tenths = column(tried.wall), asked = sums(column(tried.asked));
  const attempts = {
    n: tenths.length, test: sums(column(tried.test)), number: column(tried.number), status: column(tried.status),
    start: new Float64Array(tenths.length), wall: Float64Array.from(tenths, (value) => value / 10000),
    lane: new Int32Array(tenths.length), wait: new Float64Array(tenths.length),
  };
  let wall = run.wall, i = 0;
  const lanes = tried.lanes.map(([name, worker, count], lane) => {
    const first = i;
    for (let free = 0; i < first + count; i++) {
      const start = free + gap[i], test = attempts.test[i];
      free = start + Math.floor(tenths[i] / 10);
      attempts.start[i] = start / 1000;
      attempts.wait[i] = Math.max(0, start - asked[i]) / 1000;
      attempts.lane[i] = lane;
      wall = Math.max(wall, attempts.start[i] + attempts.wall[i]);
      if (attempts.number[i] < tests.attempts[test]) continue;
      tests.attempts[test] = attempts.number[i];
      tests.start[test] = attempts.start[i];
      tests.wall[test] = attempts.wall[i];
      tests.lane[test] = lane;
    }
    return { name, worker, first, end: i };
  });
  const samples = run.samples.map((series) => ({
    id: series.id, worker: series.worker, at: sums(column(series.at)).map((value) => value / 1000),
    of: Object.fromEntries(Object.entries(series.of).map(([name, [most, used, reserved]]) =>
      [name, { most, used: column(used), reserved: column(reserved) }])),
  }));
  const scaling = run.scaling.map(([t, action, type, workers, wanted, granted, code, trigger, reason, rejected, limits, outcome, times, inputs, [changed, done, latency, cost]]) =>
    ({ t, action, type, workers, wanted, granted, code, trigger, reason, rejected, limits, outcome, times, inputs, changed, done, latency, cost }));
  const refusals = run.refusals.map(([name, reason, at, wait]) => ({ name, reason, at, wait }));
  return { ...run, wall: wall || 1, statuses: payload.statuses, tests, attempts, lanes, samples, scaling, refusals };
};
