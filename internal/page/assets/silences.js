// The picture in which bots and mail servers part: how long clients kept silent, on a logarithmic scale.
import { get } from "./api.js";
import { ticks } from "./curves.js";
import { $, el, onResize, svg, text } from "./dom.js";
import { count, plural, rate, span } from "./format.js";

const HEIGHT = 230, LEFT = 42, RIGHT = 6, TOP = 26, BOTTOM = 24;
const kinds = [
  { key: "early-talker", member: "early_talk", name: "talked too early" },
  { key: "hang-up", member: "hang_up", name: "gave up" },
  { key: "quiet", member: "quiet", name: "spoke after waiting" },
];

let latest = null, base = null, fromPage = false, delays = [], box, picture, legend = {}, rows, details;

export function begin() {
  box = $("silence-chart");
  picture = el("div", {});
  const keys = el("ul", { class: "legend" }, kinds.map((k) => {
    legend[k.key] = el("b", {}, "–");
    return el("li", {}, el("span", { class: `key c-${k.key}`, "aria-hidden": "true" }), k.name, legend[k.key]);
  }));
  rows = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "How long clients keep silent, table" });
  details = el("details", { class: "table", ontoggle: tabulate }, el("summary", {}, "As a table"), rows);
  box.append(picture, keys, details);
  onResize(box, draw);
  $("since").addEventListener("change", (e) => {
    fromPage = e.target.value === "page";
    draw();
    tabulate();
  });
}

// refresh gets the present numbers. The delays of the frontends are drawn into the picture.
export async function refresh(frontends) {
  const v = await get("v1/silences");
  if (!latest || v.since !== latest.since) base = v;
  latest = v;
  delays = [...new Set(frontends.filter((f) => !f.removed && f.delay_ms > 0).map((f) => f.delay_ms))].sort((a, b) => a - b).slice(0, 4);
  draw();
  tabulate();
}

// numbers returns what is to be drawn: for each kind a list with one number for each class.
function numbers() {
  const from = fromPage ? base : null;
  return kinds.map((k) => latest[k.member].map((n, i) => n - (from ? from[k.member][i] : 0)));
}

const total = (list) => list.reduce((a, b) => a + b, 0);

// className names a class by its bounds.
function className(i) {
  const b = latest.bounds_ms;
  if (i === 0) return `up to ${span(b[0])}`;
  return i < b.length ? `${span(b[i - 1])} to ${span(b[i])}` : `more than ${span(b.at(-1))}`;
}

function draw() {
  const width = box.clientWidth;
  if (!width || !latest) return;
  const data = numbers(), sums = data.map(total), bounds = latest.bounds_ms;
  const w = width - LEFT - RIGHT, h = HEIGHT - TOP - BOTTOM;
  const low = Math.log10(bounds[0]) - 0.25, high = Math.log10(bounds.at(-1)) + 0.25;
  const x = (ms) => LEFT + ((Math.log10(Math.max(ms, 0.01)) - low) / (high - low)) * w;
  const edges = [LEFT, ...bounds.map(x), LEFT + w];
  const marks = ticks(Math.max(4, ...data[0].map((_, i) => data.reduce((n, d) => n + d[i], 0))));
  const y = (v) => TOP + h - (v * h) / marks.at(-1);
  const node = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": sentence(data, sums) });
  for (const m of marks) {
    node.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(m), y2: y(m) }),
      svg("text", { x: LEFT - 6, y: y(m) + 4, "text-anchor": "end" }, rate(m)));
  }
  for (const ms of [1, 10, 100, 1000, 10000, 100000]) {
    node.append(svg("line", { class: "grid", x1: x(ms), x2: x(ms), y1: TOP + h, y2: TOP + h + 4 }),
      svg("text", { x: x(ms), y: HEIGHT - 6, "text-anchor": "middle" }, span(ms)));
  }
  edges.slice(0, -1).forEach((left, i) => {
    let below = 0;
    const wide = Math.max(1, edges[i + 1] - left - 1.5);
    data.forEach((list, k) => {
      if (!list[i]) return;
      const bar = svg("rect", {
        class: `c-${kinds[k].key}`, x: left + 0.75, width: wide, y: y(below + list[i]), height: Math.max(1, y(below) - y(below + list[i])),
      });
      bar.append(svg("title", {}, `${className(i)}: ${count(list[i])} ${kinds[k].name}`));
      node.append(bar);
      below += list[i];
    });
  });
  for (const [i, ms] of delays.entries()) {
    const at = x(ms), late = at > LEFT + w * 0.75;
    node.append(svg("line", { class: "delay", x1: at, x2: at, y1: TOP - 10, y2: TOP + h }),
      svg("text", { class: "delay-text", x: at + (late ? -6 : 6), y: TOP - 4 - (i % 2) * 12, "text-anchor": late ? "end" : "start" }, `delay ${span(ms)}`));
  }
  picture.replaceChildren(node);
  kinds.forEach((k, i) => text(legend[k.key], count(sums[i])));
  text($("silence-text"), sentence(data, sums));
}

// sentence says in words what the picture shows.
function sentence(data, sums) {
  if (!total(sums)) return "No client's silence has ended yet.";
  const early = sums[0];
  if (!early) return `${plural(sums[2], "client")} waited for the banner, ${plural(sums[1], "client")} gave up, and none talked early.`;
  let seen = 0, i = 0;
  while (i < data[0].length && (seen += data[0][i]) < early * 0.9) i++;
  const by = i < latest.bounds_ms.length ? `within ${span(latest.bounds_ms[i])}` : `after more than ${span(latest.bounds_ms.at(-1))}`;
  return `${plural(early, "client")} talked too early, nine in ten of them ${by}. ${plural(sums[2], "client")} waited for the banner, ` +
    `${plural(sums[1], "client")} gave up.`;
}

function tabulate() {
  if (!latest || !details.open || rows.matches(":focus-within, :hover")) return;
  const data = numbers();
  const lines = data[0].map((_, i) => i).filter((i) => data.some((d) => d[i] > 0));
  rows.replaceChildren(el("table", {}, el("caption", { class: "sr" }, "Clients by how long they kept silent"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "silence"), kinds.map((k) => el("th", { scope: "col", class: "n" }, k.name)))),
    el("tbody", {}, lines.map((i) => el("tr", {}, el("th", { scope: "row" }, className(i)), data.map((d) => el("td", { class: "n" }, count(d[i]))))))));
}
