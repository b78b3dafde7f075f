// The one time axis that all charts share: what part of the run is seen, and where the cursor is. Seconds.
const time = { whole: [0, 1], from: 0, to: 1, cursor: null, listeners: [], cursorListeners: [] };

const setWhole = (wall) => {
  time.whole = [0, wall];
  [time.from, time.to, time.cursor] = [0, wall, null];
};

const isZoomed = () => time.from > time.whole[0] || time.to < time.whole[1];

const setView = (from, to) => {
  const [low, high] = time.whole, least = Math.max((high - low) / 1e5, 1e-3);
  let [a, b] = from < to ? [from, to] : [to, from];
  if (b - a < least) [a, b] = [(a + b - least) / 2, (a + b + least) / 2];
  if (b - a >= high - low) [a, b] = [low, high];
  if (a < low) [a, b] = [low, Math.min(high, low + b - a)];
  if (b > high) [a, b] = [Math.max(low, high - (b - a)), high];
  [time.from, time.to] = [a, b].map((t) => Math.min(Math.round(t * 1e4) / 1e4, high)); // as the address holds it
  time.listeners.forEach((listener) => listener());
};

const resetView = () => setView(...time.whole);

const zoomBy = (factor, around) => {
  const middle = around ?? (time.from + time.to) / 2;
  setView(middle - (middle - time.from) * factor, middle + (time.to - middle) * factor);
};

const setCursor = (t) => {
  time.cursor = t === null ? null : Math.min(Math.max(t, time.whole[0]), time.whole[1]);
  time.cursorListeners.forEach((listener) => listener());
};

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 108e5, 216e5, 432e5, 864e5];

// Return the times of the ticks for so many pixels.
const ticks = (from, to, pixels) => {
  const wanted = ((to - from) * 1000) / Math.max(1, pixels / 80);
  const step = (STEPS.find((value) => value >= wanted) ?? Math.ceil(wanted / 864e5) * 864e5) / 1000;
  const found = [];
  for (let i = Math.ceil(from / step - 1e-6); i * step <= to + step * 1e-6; i++) found.push(i * step);
  return found;
};

const pad = (number) => String(number).padStart(2, "0");

// Return a moment as a clock would show it: 3:07, 1:02:00, 0:00.25.
const clock = (t) => {
  const span = time.to - time.from, whole = Math.floor(t + 1e-6), parts = t - whole;
  const small = span < 8 && parts > 5e-4 ? parts.toFixed(span < 0.08 ? 3 : span < 0.8 ? 2 : 1).slice(1) : "";
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return (hours ? `${hours}:${pad(minutes)}` : String(minutes)) + `:${pad(whole % 60)}${small}`;
};

// Return a duration: 12 µs, 3.2 ms, 0.25 s, 12.3 s, 3m07s, 1h02m.
const duration = (s) => {
  if (!Number.isFinite(s)) return "-";
  if (s <= 0) return "0 s";
  if (s < 0.01) return `${(s * 1000).toFixed(1)} ms`;
  if (s < 1) return `${s.toFixed(2)} s`;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${pad(Math.floor(s % 60))}s`;
  return `${Math.floor(s / 3600)}h${pad(Math.floor(s / 60) % 60)}m`;
};

const bytes = (value) => {
  if (!value) return "-";
  const unit = value < 2 ** 30 ? ["MiB", 2 ** 20] : ["GiB", 2 ** 30];
  const amount = value / unit[1];
  return `${amount < 10 ? amount.toFixed(1) : Math.round(amount)} ${unit[0]}`;
};

const amountOf = { cpu: (value) => `${value.toFixed(2)} cores`, memory: bytes, gpu: (value) => `${value.toFixed(2)} gpus` };
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
