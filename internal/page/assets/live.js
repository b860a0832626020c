// The live log: connections as they end. A flood costs the browser no more than a trickle: only the latest lines are kept, and
// what did not fit is counted.
import { get } from "./api.js";
import { $, el, show, text } from "./dom.js";
import { clock, count, hostport, plural, span, verdictWord } from "./format.js";
import { tell } from "./story.js";

const KEEP = 200, EVERY = 400;

let source = null, waiting = [], missed = 0, timer = 0, paused = false, chosen = null, seen = 0;

export function begin() {
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").setAttribute("aria-pressed", String(paused));
    text($("pause"), paused ? "Go on" : "Pause");
    flush();
  });
  let typing;
  $("filter").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(restart, 350);
  });
  $("filter").addEventListener("submit", (e) => {
    e.preventDefault();
    restart();
  });
}

// setFrontends lists the frontends in the filter.
export function setFrontends(names) {
  const list = $("filter-frontend");
  const have = [...list.options].slice(1).map((o) => o.value);
  if (have.join("\n") === names.join("\n")) return;
  const was = list.value;
  list.replaceChildren(list.options[0], ...names.map((n) => el("option", { value: n }, n)));
  list.value = names.includes(was) ? was : "";
}

function parameters() {
  const q = new URLSearchParams();
  for (const name of ["verdict", "client", "frontend"]) {
    const v = $(`filter-${name}`).value.trim();
    if (v) q.set(name, v);
  }
  return q;
}

function restart() {
  stop();
  start();
}

// start shows the latest connections that the gateway remembers, and then follows.
export async function start() {
  if (source) return;
  const q = parameters();
  $("log").replaceChildren();
  waiting = [];
  missed = seen = 0;
  const mine = (source = new EventSource(`v1/verdicts?${q}`));
  mine.addEventListener("verdict", (e) => add(JSON.parse(e.data)));
  mine.addEventListener("lost", (e) => (missed += JSON.parse(e.data).lost));
  mine.onopen = () => show($("filter-error"), false);
  mine.onerror = () => {
    if (mine.readyState === EventSource.CLOSED && mine === source) explainError(q, mine);
  };
  state();
  const past = await remembered(q);
  if (mine !== source) return;
  for (const v of past) $("log").append(line(v, false));
  trim();
  state();
}

// stop ends the stream, so that a page that nobody looks at costs nothing.
export function stop() {
  source?.close();
  source = null;
  clearTimeout(timer);
  timer = 0;
}

// remembered gets connections that have ended before, the latest first.
async function remembered(q) {
  const networks = q.get("client") ? [q.get("client")] : ["0.0.0.0/0", "::/0"];
  const lists = await Promise.all(networks.map((n) => get(`v1/explain/${encodeURIComponent(n)}?limit=100`).catch(() => null)));
  return lists.flatMap((l) => l?.connections ?? []).map((c) => c.connection)
    .filter((v) => (!q.get("verdict") || v.verdict === q.get("verdict")) && (!q.get("frontend") || v.frontend === q.get("frontend")))
    .sort((a, b) => (a.time < b.time ? 1 : -1)).slice(0, 100);
}

// explainError asks once more without a stream, because an EventSource does not tell why it was refused.
async function explainError(q, mine) {
  try {
    const r = await fetch(`v1/verdicts?${q}`, { signal: AbortSignal.timeout(5000) });
    if (!r.ok) {
      text($("filter-error"), (await r.json()).detail);
      show($("filter-error"), true);
      if (r.status === 400) return;
    } else {
      await r.body.cancel();
    }
  } catch {
    // the gateway does not answer: try again
  }
  setTimeout(() => mine === source && restart(), 5000);
}

function add(v) {
  seen++;
  waiting.push(v);
  if (waiting.length > KEEP) missed += waiting.splice(0, waiting.length - KEEP).length;
  if (!timer) timer = setTimeout(flush, EVERY);
}

// flush puts what has come into the log, all at once.
function flush() {
  clearTimeout(timer);
  timer = 0;
  if (paused) {
    state();
    return;
  }
  const log = $("log"), top = log.scrollTop;
  const before = log.scrollHeight;
  if (missed) log.prepend(el("li", { class: "gap" }, `${plural(missed, "connection is", "connections are")} not shown: too many at once`));
  for (const v of waiting) log.prepend(line(v, true));
  waiting = [];
  missed = 0;
  if (top > 0) log.scrollTop = top + log.scrollHeight - before; // who reads further down stays there
  trim();
  state();
}

function trim() {
  const log = $("log");
  while (log.children.length > KEEP && !log.lastElementChild.contains(document.activeElement)) log.lastElementChild.remove();
}

function state() {
  let words = seen ? `${count(seen)} since this view was opened` : "Connections appear here as they end.";
  if (paused && waiting.length) words = `Paused; ${plural(waiting.length, "connection waits", "connections wait")}`;
  text($("live-text"), words);
}

// why says in a few words how a connection ended.
function why(v) {
  const talk = v.talk ? ` “${v.talk}”` : "";
  switch (v.verdict) {
    case "early-talker": return `talked after ${span(v.first_byte_ms ?? 0)}${talk}`;
    case "hang-up": return `gave up after ${span(v.held_ms ?? v.total_ms)}`;
    case "quiet": return `${v.server || "a server"} after ${span(v.held_ms ?? 0)}, ${span(v.total_ms)} in all${v.observed ? `; talked early${talk}` : ""}`;
    case "no-server": return `waited ${span(v.held_ms ?? 0)}, and no server took it`;
    case "refused": return v.rule ? `by ${v.rule}` : v.cause;
    default: return v.cause;
  }
}

function line(v, fresh) {
  const at = new Date(v.time);
  const button = el("button", { type: "button", class: fresh ? "fresh" : null, onclick: () => choose(button, v) },
    el("time", { class: "at", datetime: v.time }, clock(at)),
    el("span", { class: `pill c-${v.verdict}` }, verdictWord(v.verdict)),
    el("span", { class: "client" }, hostport(v.client, v.client_port)),
    el("span", { class: "why" }, why(v)));
  return el("li", { "data-verdict": v.verdict, "data-client": v.client }, button);
}

function choose(button, v) {
  chosen?.removeAttribute("aria-current");
  chosen = button;
  button.setAttribute("aria-current", "true");
  tell(v);
}
