// Offenders and passes: lists, and what an administrator does with them.
import { parts, path, post, remove } from "./api.js";
import { $, el, say, show, table, text } from "./dom.js";
import { plural, span } from "./format.js";

const MOST = 500;
let admin = false;

export function begin() {
  let typing;
  const again = () => refresh(admin).catch((e) => say(e.message));
  $("find").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(again, 350);
  });
  $("find").addEventListener("submit", (e) => {
    e.preventDefault();
    again();
  });
  form("add-offender", "is an offender", (f) => post("v1/offenders", { client: f.get("client").trim(), for_ms: Number(f.get("for")) }));
  form("add-pass", "has a pass", (f) => post("v1/passes", { client: f.get("client").trim() }));
}

// form has a form carry out an action.
function form(id, words, act) {
  $(id).addEventListener("submit", async (e) => {
    e.preventDefault();
    const values = new FormData(e.target);
    await attempt(() => act(values), `${values.get("client").trim()} ${words}`) && e.target.reset();
  });
}

async function attempt(act, words) {
  try {
    await act();
    say(words);
  } catch (e) {
    say(e.message);
    return false;
  }
  await refresh(admin).catch(() => {});
  return true;
}

export async function refresh(isAdmin) {
  admin = isAdmin;
  for (const f of document.querySelectorAll("form.admin")) show(f, admin);
  const client = $("find-client").value.trim();
  const query = client ? { client } : {};
  try {
    const [offenders, passes] = await Promise.all([parts("v1/offenders", "offenders", MOST, query), parts("v1/passes", "passes", MOST, query)]);
    show($("find-error"), false);
    offenders.list.sort((a, b) => Number(b.listed) - Number(a.listed) || b.left_ms - a.left_ms);
    passes.list.sort((a, b) => a.age_ms - b.age_ms);
    fill($("offenders"), "Offenders", ["client", "offences", "latest", "kept for"], offenders, offender);
    fill($("passes"), "Passes", ["client", "age", "good for"], passes, pass);
  } catch (e) {
    if (e.status !== 400) throw e;
    text($("find-error"), e.message);
    show($("find-error"), true);
  }
}

function fill(box, name, heads, { list, more }, row) {
  if (box !== document.activeElement && box.contains(document.activeElement)) return; // do not take a button away from under the finger
  if (!list.length) {
    box.replaceChildren(el("p", { class: "empty" }, "None."));
    return;
  }
  const all = admin ? [...heads, ""] : heads;
  box.replaceChildren(table(name, all, list.map(row)));
  if (more) box.append(el("p", { class: "empty" }, `The first ${list.length}. There are more: narrow them down by network.`));
}

// addressOf is an address that stands for a client, which is a network.
const addressOf = (client) => client.split("/")[0];

const shortName = (client) => client.replace(/\/(32|128)$/, "");

function action(client, word, act, done) {
  if (!admin) return null;
  const name = shortName(client);
  return el("td", { class: "n" }, el("button", {
    type: "button", "aria-label": `${word} ${name}`, onclick: (e) => {
      e.target.blur();
      attempt(act, `${name} ${done}`);
    },
  }, word));
}

function offender(o) {
  const ages = o.offence_ages_ms;
  return el("tr", { "data-client": o.client }, el("td", {}, el("code", {}, shortName(o.client)), o.kernel ? el("small", {}, " dropped by the kernel") : null),
    el("td", {}, plural(ages.length, "offence")), el("td", {}, ages.length ? `${span(Math.min(...ages))} ago` : "by hand"),
    el("td", {}, o.listed ? span(o.left_ms) : "not listed"),
    action(o.client, "Forgive", () => remove(`v1/offenders/${path(addressOf(o.client))}`), "is forgiven"));
}

function pass(p) {
  return el("tr", { "data-client": p.client }, el("td", {}, el("code", {}, shortName(p.client))), el("td", {}, span(p.age_ms)), el("td", {}, span(p.left_ms)),
    action(p.client, "Take", () => remove(`v1/passes/${path(addressOf(p.client))}`), "has no pass any more"));
}
