// Colours come from the style sheet, so that light and dark are told once; what they mean is also told by shape and word.
const GLYPHS = { failed: "✕", error: "!", flaky: "~", retried: "↻", passed: "✓", xfailed: "✓", xpassed: "?", skipped: "-", "not run": "·" };
let colours = {};

const readColours = () => {
  const style = getComputedStyle(document.documentElement);
  colours = new Proxy({}, { get: (known, name) => (known[name] ??= style.getPropertyValue(`--${name}`).trim()) });
};

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

// The style sheet holds all colours only under a chosen theme: follow the system's by choosing it.
const followSystem = () => { document.documentElement.dataset.theme = isDark() ? "dark" : "light"; };

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const packed = ([r, g, b], alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0; // as ImageData holds it
const between = (one, other, share) => one.map((value, i) => Math.round(value + (other[i] - value) * share));

const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

const statusPill = (word) =>
  element("span", { class: `pill ${word.replace(" ", "_")}` }, `${GLYPHS[word] ?? "·"} `, element("span", {}, word));

// One entry of a legend: a swatch that is drawn as the chart draws it, and what it means.
const legendItem = (words, draw) => {
  const size = 14, ratio = devicePixelRatio || 1;
  const canvas = element("canvas", { width: size * ratio, height: size * ratio, "aria-hidden": "true" });
  canvas.style.width = canvas.style.height = `${size}px`;
  const paint = () => {
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, size, size);
    draw(context, size);
  };
  paint();
  return [element("li", {}, canvas, words), paint];
};

const legend = (items) => {
  const made = items.map(([words, draw]) => legendItem(words, draw));
  const list = element("ul", { class: "legend" }, ...made.map(([item]) => item));
  return { list, paint: () => made.forEach(([, paint]) => paint()) };
};

const announce = (text) => { document.querySelector(".live").textContent = text; };
