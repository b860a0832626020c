// What the page does, and when. Nothing is asked while nobody looks.
import { get, onLevel, session } from "./api.js";
import * as clients from "./clients.js";
import { $, el, say, show, text } from "./dom.js";
import { count, plural, rate, span } from "./format.js";
import * as history from "./history.js";
import * as live from "./live.js";
import * as servers from "./servers.js";
import * as silences from "./silences.js";
import * as story from "./story.js";

const EVERY = 2000, SLOWLY = 10000;

let level = "none", told = "none", turn = 0, timer = 0, reached = true;

const isAdmin = () => level === "admin";

async function boot() {
  history.begin();
  silences.begin();
  live.begin();
  clients.begin();
  signing();
  onLevel((l) => (told = l));
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : wake()));
  await wake();
}

// wake begins to ask; rest ends that.
async function wake() {
  clearTimeout(timer);
  try {
    enter(await session.get());
    reached = true;
  } catch (e) {
    await lost(e);
  }
  told = level;
  if (level !== "none") live.start();
  turn = 0;
  await tick();
}

function rest() {
  clearTimeout(timer);
  timer = 0;
  live.stop();
}

// enter shows what somebody of a level may see.
function enter(who) {
  const was = level;
  level = who.level;
  document.body.dataset.level = level;
  text($("level"), { "admin": "admin", "read-only": "read only" }[level] ?? "");
  show($("sign-in"), who.tokens && level !== "admin" && !who.session);
  show($("sign-out"), who.session);
  show($("content"), level !== "none");
  show($("locked"), level === "none");
  $("sign-in").classList.toggle("main", level === "none");
  if (level === "none") {
    live.stop();
    state("wait", "not signed in");
  } else if (was === "none") {
    live.start();
  }
}

async function tick() {
  clearTimeout(timer);
  if (told !== level && reached) { // a session has ended, or another tab has begun one
    await wake();
    return;
  }
  if (level !== "none") {
    try {
      await refresh();
      if (!reached) say("The gateway answers again.");
      reached = true;
    } catch (e) {
      await lost(e);
    }
  }
  turn++;
  if (!document.hidden) timer = setTimeout(reached ? tick : wake, EVERY);
}

async function refresh() {
  const [status, { frontends }] = await Promise.all([get("v1/status"), get("v1/frontends")]);
  live.setFrontends(frontends.filter((f) => !f.removed).map((f) => f.name));
  story.setFrontends(frontends);
  const jobs = [history.refresh(), silences.refresh(frontends), servers.refresh(isAdmin())];
  if (turn % (SLOWLY / EVERY) === 0) jobs.push(clients.refresh(isAdmin()));
  await Promise.all(jobs);
  summary(status, frontends);
}

function summary(status, frontends) {
  const c = status.connections, sum = (...names) => names.reduce((n, p) => n + (c[p] ?? 0), 0);
  text($("tile-held"), count(c["held"] ?? 0));
  const delays = [...new Set(frontends.filter((f) => !f.removed).map((f) => f.delay_ms))].sort((a, b) => a - b);
  text($("tile-held-of"), delays.length === 1 ? `delay ${span(delays[0])}` : delays.length ? `delays ${span(delays[0])} to ${span(delays.at(-1))}` : "");
  text($("tile-spliced"), count(sum("spliced")));
  const { sum: ended, minutes } = history.lately(60000);
  const all = Object.values(ended).reduce((a, b) => a + b, 0);
  const share = (n) => (all ? `a minute, ${Math.round((n * 100) / all)} % of all` : "a minute");
  for (const [tile, verdict] of [["early", "early-talker"], ["quiet", "quiet"]]) {
    text($(`tile-${tile}`), minutes ? rate((ended[verdict] ?? 0) / minutes) : "–");
    text($(`tile-${tile}-of`), share(ended[verdict] ?? 0));
  }
  text($("tile-servers"), `${status.servers.usable} of ${status.servers.total}`);
  if (status.state === "stopping") state("warn", "stopping");
  else if (!status.ready) state("bad", "no server takes connections");
  else if (status.stress) state("warn", "under stress");
  else state("good", "running");
  text($("about"), `hushgate ${status.version}, up for ${span(status.uptime_ms)}, ${plural(status.shards, "shard")}, ` +
    `configuration ${status.configuration.sha256.slice(0, 12)}`);
  warn([...status.warnings, ...status.configuration.warnings,
    ...status.logs.filter((l) => l.lost).map((l) => `${plural(l.lost, "line")} of the log to ${l.target} were lost`)]);
}

function warn(list) {
  const box = $("warnings"), text = list.join("\n");
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren(...list.map((w) => el("li", {}, w)));
  show(box, list.length > 0);
}

function state(kind, words) {
  $("state").dataset.state = kind;
  text($("state-text"), words);
}

// lost shows that the gateway did not answer, or that we have no right to ask any more.
async function lost(e) {
  if (e.status === 401 || e.status === 403) {
    try {
      enter(await session.get());
      return;
    } catch {
      // as if it did not answer
    }
  }
  if (reached) say(e.status ? e.message : "The gateway does not answer.");
  if (!e.status) live.stop();
  reached = Boolean(e.status);
  state("bad", e.status === 429 ? "asked too often" : "no answer");
}

function signing() {
  const dialog = $("dialog"), token = $("token");
  $("sign-in").addEventListener("click", () => {
    show($("token-error"), false);
    dialog.showModal();
    token.focus();
  });
  $("token-cancel").addEventListener("click", () => dialog.close());
  $("token-form").addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      const who = await session.begin(token.value.trim());
      dialog.close();
      enter(who);
      live.stop();
      live.start();
      say(`Signed in: ${level}`);
      turn = 0;
      await tick();
    } catch (failure) {
      text($("token-error"), failure.message);
      show($("token-error"), true);
    }
    token.value = "";
  });
  $("sign-out").addEventListener("click", async () => {
    try {
      enter(await session.end());
      say("Signed out");
      turn = 0;
      await tick();
    } catch (failure) {
      say(failure.message);
    }
  });
}

boot();
