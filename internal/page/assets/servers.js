// Servers: how they are, what their checks say, and what can be done with them.
import { get, patch, path } from "./api.js";
import { $, el, say, show, text } from "./dom.js";
import { count, octets, span } from "./format.js";

const cards = new Map();
const stateWords = { up: "up", down: "down", drain: "draining", maint: "maintenance" };

export async function refresh(admin) {
  const { servers } = await get("v1/servers");
  const wanted = new Set();
  servers.filter((s) => !s.removed).forEach((s, i) => {
    const id = `${s.backend}/${s.name}`;
    wanted.add(id);
    if (!cards.has(id)) cards.set(id, card(s.backend, s.name));
    const c = cards.get(id);
    if ($("server-list").children[i] !== c.node) $("server-list").insertBefore(c.node, $("server-list").children[i] ?? null);
    fill(c, s, admin);
  });
  for (const [id, c] of cards) {
    if (!wanted.has(id)) {
      c.node.remove();
      cards.delete(id);
    }
  }
}

// card makes the parts of a server's card. They stay, so that the focus does.
function card(backend, name) {
  const c = { backend, name, buttons: {} };
  const act = (words, change) => set(c, words, change);
  for (const [state, word] of [["ready", "Ready"], ["drain", "Drain"], ["maint", "Maintenance"]]) {
    c.buttons[state] = el("button", { type: "button", onclick: () => act(`${name}: ${word.toLowerCase()}`, { state }) }, word);
  }
  c.weight = el("input", { type: "number", min: "0", max: "256", required: true, "aria-label": `Weight of ${name}`, oninput: () => (c.edited = true) });
  c.pill = el("span", { class: "pill" });
  c.address = el("small", {});
  c.check = el("p", {});
  c.figures = el("p", { class: "figures" });
  c.acts = el("div", { class: "acts" },
    el("div", { class: "group", role: "group", "aria-label": `State of ${name}` }, Object.values(c.buttons)),
    el("form", {
      class: "weight", onsubmit: async (e) => {
        e.preventDefault();
        await act(`${name}: weight ${c.weight.value}`, { weight: Number(c.weight.value) });
        c.edited = false;
      },
    }, el("span", { "aria-hidden": "true" }, "weight"), c.weight, el("button", { "aria-label": `Set the weight of ${name}` }, "Set")));
  c.node = el("li", { class: "server", "data-server": `${backend}/${name}` }, el("h3", {}, name, c.address, c.pill), c.check, c.figures, c.acts);
  return c;
}

function fill(c, s, admin) {
  const state = s.state !== "ready" ? s.state : s.up ? "up" : "down";
  if (c.state && c.state !== state) say(`Server ${s.name}: ${stateWords[state]}`);
  c.state = state;
  c.node.dataset.state = state;
  c.pill.className = `pill c-${{ up: "quiet", down: "early-talker" }[state] ?? "hang-up"}`;
  text(c.pill, stateWords[state]);
  text(c.address, `${s.backend}, ${s.address}${s.backup ? ", backup" : ""}`);
  text(c.check, checkText(s.check));
  const figures = [["connections", count(s.connections)], ["ended", count(s.ended)], ["failed", count(s.failed)],
    ["to clients", octets(s.bytes_to_client)], ["to server", octets(s.bytes_to_server)]];
  if (!admin) figures.splice(1, 0, ["weight", count(s.weight)]);
  c.figures.replaceChildren(...figures.map(([name, n]) => el("span", {}, el("b", {}, n), ` ${name}`)));
  show(c.acts, admin);
  for (const [name, b] of Object.entries(c.buttons)) b.setAttribute("aria-pressed", String(s.state === name));
  if (!c.edited) c.weight.value = s.weight;
}

function checkText(k) {
  if (!k) return "not checked";
  if (!k.enabled) return "checks are switched off";
  if (!k.code) return "no check has ended yet";
  return `${k.code} in ${span(k.duration_ms)}: ${k.text}`;
}

async function set(c, words, change) {
  try {
    await patch(`v1/servers/${path(c.backend, c.name)}`, change);
    say(words);
  } catch (e) {
    say(`${c.name}: ${e.message}`);
  }
  await refresh(true).catch(() => {});
}
