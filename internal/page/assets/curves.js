// Stacked areas over time, with the numbers at the cursor in the legend and a table of the same numbers behind them.
import { el, onResize, svg, text } from "./dom.js";
import { clock, rate } from "./format.js";

const HEIGHT = 190, LEFT = 36, RIGHT = 4, TOP = 8, BOTTOM = 20;

// ticks returns round numbers from 0 on, of which the last is not below most.
export function ticks(most, wanted = 4) {
  const rough = Math.max(most, 1e-9) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const list = [];
  for (let i = 0; i === 0 || list.at(-1) < most; i++) list.push(i * step);
  return list;
}

export class Curves {
  // series: {key, name}, from the bottom up. unit names what is counted.
  constructor(box, { title, unit, series, whole }) {
    Object.assign(this, { box, title, unit, series, whole, points: [], at: null });
    this.picture = el("div", {});
    this.legend = el("ul", { class: "legend" });
    this.values = {};
    for (const s of [...series].reverse()) {
      this.values[s.key] = el("b", {}, "–");
      this.legend.append(el("li", {}, el("span", { class: `key c-${s.key}`, "aria-hidden": "true" }), s.name, this.values[s.key]));
    }
    this.when = el("li", { class: "when" }, "");
    this.legend.append(this.when);
    this.rows = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, table` });
    this.details = el("details", { class: "table", ontoggle: () => this.tabulate() }, el("summary", {}, "As a table"), this.rows);
    box.append(this.picture, this.legend, this.details);
    onResize(box, () => this.draw());
  }

  // set takes points: {time, values: {key: number}}, oldest first.
  set(points) {
    this.points = points;
    if (this.at !== null && this.at >= points.length) this.at = null;
    this.draw();
    this.tabulate();
  }

  draw() {
    const width = this.box.clientWidth;
    if (!width) return;
    const { points, series } = this;
    const w = width - LEFT - RIGHT, h = HEIGHT - TOP - BOTTOM;
    const sums = points.map((p) => series.reduce((n, s) => n + p.values[s.key], 0));
    const marks = ticks(Math.max(this.whole ? 4 : 1, ...sums));
    const x = (i) => LEFT + (points.length > 1 ? (i * w) / (points.length - 1) : w);
    const y = (v) => TOP + h - (v * h) / marks.at(-1);
    const picture = svg("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", tabindex: "0",
      "aria-label": `${this.title} over time, ${this.unit}. The arrow keys move through it; the same numbers are in the table below.`,
      onpointermove: (e) => this.point(Math.round(((e.offsetX - LEFT) / w) * (points.length - 1))),
      onpointerleave: () => this.point(null),
      onkeydown: (e) => this.key(e), onblur: () => this.point(null),
    });
    for (const m of marks) {
      picture.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(m), y2: y(m) }),
        svg("text", { x: LEFT - 6, y: y(m) + 4, "text-anchor": "end" }, rate(m)));
    }
    if (points.length > 1) {
      let below = points.map(() => 0);
      for (const s of series) {
        const above = points.map((p, i) => below[i] + p.values[s.key]);
        const line = (list) => list.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`);
        if (above.some((v, i) => v > below[i])) {
          picture.append(svg("path", { class: `area c-${s.key}`, d: `M${line(above).join("L")}L${line(below).reverse().join("L")}Z` }),
            svg("path", { class: "edge", d: `M${line(above).join("L")}` }));
        }
        below = above;
      }
      const steps = width > 480 ? 4 : 2;
      for (let k = 0; k <= steps; k++) {
        const i = Math.round((k * (points.length - 1)) / steps);
        picture.append(svg("text", { x: x(i), y: HEIGHT - 4, "text-anchor": k === 0 ? "start" : k === steps ? "end" : "middle" }, clock(points[i].time)));
      }
    } else {
      picture.append(svg("text", { x: LEFT + w / 2, y: TOP + h / 2, "text-anchor": "middle" }, "the first numbers come in a moment"));
    }
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: TOP + h, visibility: "hidden" });
    picture.append(this.cursor);
    this.x = x;
    const focused = this.picture.contains(document.activeElement);
    this.picture.replaceChildren(picture);
    if (focused) picture.focus({ preventScroll: true });
    this.mark();
  }

  key(e) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (!by || !this.points.length) return;
    e.preventDefault();
    this.point((this.at ?? this.points.length - 1) + by);
  }

  point(i) {
    this.at = i === null || !this.points.length ? null : Math.max(0, Math.min(this.points.length - 1, i));
    this.mark();
  }

  // mark shows the numbers at the cursor, or the latest.
  mark() {
    const p = this.points[this.at ?? this.points.length - 1];
    if (!p) return;
    for (const s of this.series) text(this.values[s.key], rate(p.values[s.key]));
    text(this.when, this.at === null ? this.unit : `${this.unit}, ${clock(p.time)}`);
    this.cursor.setAttribute("visibility", this.at === null ? "hidden" : "visible");
    if (this.at !== null) {
      this.cursor.setAttribute("x1", this.x(this.at));
      this.cursor.setAttribute("x2", this.x(this.at));
    }
  }

  // tabulate fills the table while it is open, one row a minute or less.
  tabulate() {
    if (!this.details.open || this.rows.matches(":focus-within, :hover")) return;
    const every = Math.max(1, Math.ceil(this.points.length / 15));
    const last = this.points.length - 1;
    const rows = this.points.filter((_, i) => (last - i) % every === 0).reverse();
    const head = ["time", ...this.series.map((s) => s.name)];
    this.rows.replaceChildren(el("table", {}, el("caption", { class: "sr" }, `${this.title}, ${this.unit}`),
      el("thead", {}, el("tr", {}, head.map((n, i) => el("th", { scope: "col", class: i ? "n" : null }, n)))),
      el("tbody", {}, rows.map((p) => el("tr", {}, el("th", { scope: "row" }, clock(p.time)),
        this.series.map((s) => el("td", { class: "n" }, rate(p.values[s.key]))))))));
  }
}
