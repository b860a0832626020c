// The two charts over time, from the samples that the gateway keeps.
import { get } from "./api.js";
import { Curves } from "./curves.js";
import { $ } from "./dom.js";
import { verdicts, verdictWord } from "./format.js";

const groups = {
  "held": ["held"],
  "waiting": ["waiting", "connecting", "introducing", "banner-pending"],
  "spliced": ["spliced"],
  "half-open": ["half-open"],
  "over": ["tarpit"],
};
const groupWords = {
  "held": "held", "waiting": "on the way to a server", "spliced": "in conversation", "half-open": "half-open", "over": "tarpit",
};

let started = null, next = 0, samples = [], step = 2000, seconds = 300;
let verdictChart, holdChart;

export function begin() {
  verdictChart = new Curves($("verdict-chart"), {
    title: "Verdicts", unit: "a minute", series: verdicts.map((key) => ({ key, name: verdictWord(key) })),
  });
  holdChart = new Curves($("hold-chart"), {
    title: "Connections", unit: "at that time", whole: true, series: Object.keys(groups).map((key) => ({ key, name: groupWords[key] })),
  });
  $("span").addEventListener("change", (e) => {
    seconds = Number(e.target.value);
    draw();
  });
}

// refresh gets the samples since the last one.
export async function refresh() {
  const v = await get(`v1/history?after=${next}`);
  if (v.started !== started || v.first !== next + 1) samples = []; // another process, or too long ago
  started = v.started;
  step = v.step_ms;
  v.times.forEach((time, i) => {
    const one = { number: v.first + i, time: new Date(time), connections: {}, verdicts: {} };
    for (const [name, list] of Object.entries(v.connections)) one.connections[name] = list[i];
    for (const [name, list] of Object.entries(v.verdicts)) one.verdicts[name] = list[i];
    samples.push(one);
  });
  next = v.first + v.times.length - 1;
  samples = samples.slice(-900);
  draw();
}

// lately adds up the verdicts of the latest samples, and returns the minutes that they cover.
export function lately(ms) {
  const list = samples.slice(-Math.ceil(ms / step));
  const sum = {};
  for (const s of list) for (const [name, n] of Object.entries(s.verdicts)) sum[name] = (sum[name] ?? 0) + n;
  return { sum, minutes: (list.length * step) / 60000 };
}

// windows returns the samples at which a curve has its points, each with those before it that its value is the mean of. The
// points are always the same ones, so that a curve moves and does not change its form.
function windows(every, width) {
  const from = Math.max(0, samples.length - Math.ceil((seconds * 1000) / step));
  const list = [];
  for (let i = from; i < samples.length; i++) {
    if (samples[i].number % every === 0 || i === samples.length - 1) list.push(samples.slice(Math.max(0, i - width + 1), i + 1));
  }
  return list;
}

function draw() {
  const long = seconds > 600;
  verdictChart.set(windows(long ? 5 : 1, long ? 15 : 5).map((list) => {
    const values = {};
    for (const v of verdicts) values[v] = (list.reduce((n, s) => n + (s.verdicts[v] ?? 0), 0) * 60000) / (list.length * step);
    return { time: list.at(-1).time, values };
  }));
  holdChart.set(windows(long ? 5 : 1, 1).map(([s]) => {
    const values = {};
    for (const [key, phases] of Object.entries(groups)) values[key] = phases.reduce((n, p) => n + (s.connections[p] ?? 0), 0);
    return { time: s.time, values };
  }));
}
