// One connection's story as a sequence picture. Its steps are also a list of sentences for those who do not see it.
import { $, el, onResize, svg } from "./dom.js";
import { clock, hostport, moment, octets, span, verdictWord } from "./format.js";

let latest = null, frontends = [];

// setFrontends tells what frontends do with early talk.
export function setFrontends(list) {
  frontends = list;
}

// steps returns what happened, in order: {at, from, to, label, kind} for what was sent, {quiet} for silence, both with words.
// Times count from the end of the handshake on.
export function steps(v, action) {
  const list = [
    { from: "client", to: "gate", label: "SYN" },
    { from: "gate", to: "client", label: "SYN-ACK" },
    { from: "client", to: "gate", label: "ACK", at: 0 },
  ];
  const send = (at, from, to, label, kind = "plain") => list.push({ at, from, to, label, kind });
  const quiet = (from, to, label) => {
    if (to > from) list.push({ quiet: to - from, at: from, label });
  };
  const talkAt = v.first_byte_ms, talk = v.talk ? `“${v.talk}”` : "talk";
  const held = v.held_ms ?? v.total_ms;
  if (v.observed && talkAt !== null && v.verdict !== "early-talker") {
    quiet(0, talkAt, "silence");
    send(talkAt, "client", "gate", talk, "warn");
  }
  switch (v.verdict) {
    case "early-talker": {
      const at = talkAt ?? held;
      const passedOn = v.server && v.held_ms !== null && v.held_ms < at;
      quiet(0, passedOn ? v.held_ms : at, "silence");
      if (passedOn) {
        send(v.held_ms, "gate", "server", "SYN");
        quiet(v.held_ms, at, "no banner yet");
      }
      send(at, "client", "gate", talk, "bad");
      const end = { "reset": "RST", "reply": "554, FIN", "tarpit": "closed window", "silent-drop": "no answer any more" }[action] ?? "RST";
      send(at, "gate", "client", end, "bad");
      if (passedOn) send(at, "gate", "server", "RST", "bad");
      break;
    }
    case "hang-up":
      quiet(0, v.total_ms, "silence");
      send(v.total_ms, "client", "gate", v.cause === "client-reset" ? "RST" : "FIN", "warn");
      break;
    case "quiet":
    case "no-server":
      quiet(v.observed && talkAt !== null ? Math.min(talkAt, held) : 0, held, "silence");
      if (v.server) send(held, "gate", "server", "SYN");
      if (v.verdict === "no-server") {
        send(v.total_ms, "gate", "client", "421, FIN", "bad");
        break;
      }
      send(null, "server", "gate", "SYN-ACK");
      if (v.banner_ms !== null) send(v.banner_ms, "server", "client", "220 banner", "good");
      if (talkAt !== null && !v.observed) {
        send(talkAt, "client", "server", "first words", "good");
        send(null, "client", "server", octets(v.bytes_to_server), "good");
      }
      send(v.total_ms, ...ending(v));
      break;
    case "refused":
      send(held, "gate", "client", "refused", "bad");
      break;
    default:
      quiet(0, v.total_ms, "silence");
      send(v.total_ms, ...ending(v));
  }
  return list;
}

// ending says how a connection ended that went its way: which end sent what. What the gateway ends has the cause with it.
function ending(v) {
  const other = v.server ? "server" : "gate";
  switch (v.cause) {
    case "client-closed": return ["client", other, "FIN"];
    case "client-reset": return ["client", other, "RST", "warn"];
    case "server-reset": return ["server", "client", "RST", "warn"];
    case "finished": return [other, "client", "FIN, FIN"];
    default: return ["gate", "client", `RST (${v.cause})`, "warn"];
  }
}

// tell shows a connection.
export function tell(v) {
  latest = v;
  const action = frontends.find((f) => f.name === v.frontend)?.on_early_talk;
  const what = steps(v, action);
  const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
  const facts = el("dl", { class: "story-facts" },
    fact("verdict", el("span", { class: `pill c-${v.verdict}` }, verdictWord(v.verdict)), ` ${v.cause}`),
    fact("client", hostport(v.client, v.client_port)),
    fact("ended", `${new Date(v.time).toLocaleDateString("en-CA")} ${clock(new Date(v.time))}, after ${span(v.total_ms)}`),
    fact("frontend", `${v.frontend}, ${v.service}`),
    v.server ? fact("server", `${v.backend}/${v.server}${v.retries ? `, after ${v.retries} tries` : ""}`) : null,
    v.rule ? fact("rule", v.rule) : null,
    v.pass ? fact("pass", v.pass) : null,
    v.signature ? fact("signature", el("code", {}, v.signature)) : null,
    v.bytes_to_client || v.bytes_to_server ? fact("mail", `${octets(v.bytes_to_server)} to the server, ${octets(v.bytes_to_client)} to the client`) : null,
    v.talk ? fact("said", el("span", { class: "talk" }, v.talk)) : null);
  const picture = el("div", {});
  const draw = () => picture.replaceChildren(drawing(what, v, picture.clientWidth));
  const list = el("details", { class: "table" }, el("summary", {}, "In words"), el("ol", {}, what.map((s) => el("li", {}, sentence(s)))));
  $("story-body").replaceChildren(facts, picture, list);
  draw();
  onResize(picture, () => latest === v && draw());
}

const names = { client: "the client", gate: "hushgate", server: "the server" };

function sentence(s) {
  const when = s.at === undefined || s.at === null ? "" : ` (${moment(s.at)})`;
  if (s.quiet) return `${s.label} for ${span(s.quiet)}`;
  return `${names[s.from]} to ${names[s.to]}: ${s.label}${when}`;
}

// drawing draws the steps from top to bottom. Silence takes room by the logarithm of its length.
function drawing(what, v, width) {
  width = Math.max(width, 240);
  const left = 62, right = 14;
  const lanes = { client: left, gate: v.server ? left + (width - left - right) * 0.5 : width - right - 6, server: width - right - 6 };
  const shown = v.server ? ["client", "gate", "server"] : ["client", "gate"];
  const top = 26;
  const body = svg("g", {});
  let y = top + 14;
  for (const s of what) {
    if (s.quiet) {
      const h = 20 + 11 * Math.log10(1 + s.quiet / 50);
      const to = lanes.gate;
      body.append(svg("rect", { class: "quietness", x: lanes.client + 2, width: to - lanes.client - 4, y: y - 6, height: h, rx: 4 }),
        svg("text", { class: "quietness-text", x: (lanes.client + to) / 2, y: y - 6 + h / 2 + 4, "text-anchor": "middle" }, `${s.label}, ${span(s.quiet)}`));
      y += h + 16;
      continue;
    }
    const a = lanes[s.from], b = lanes[s.to] ?? lanes.gate, dir = b > a ? 1 : -1;
    const room = Math.max(6, Math.floor((Math.abs(b - a) - 20) / 7.4));
    const label = s.label.length > room ? `${s.label.slice(0, room - 1)}…` : s.label;
    body.append(svg("g", { class: `k-${s.kind ?? "plain"}` },
      svg("path", { class: "arrow", d: `M${a + 3 * dir},${y}L${b - 7 * dir},${y + 6}` }),
      svg("path", { class: "tip", d: `M${b - 2 * dir},${y + 7}l${-9 * dir},-5l${-1 * dir},9z` })),
      svg("text", { class: `k-${s.kind ?? "plain"}`, x: (a + b) / 2, y: y - 3, "text-anchor": "middle" }, label));
    if (s.at !== undefined && s.at !== null) body.append(svg("text", { class: "time", x: left - 10, y: y + 4, "text-anchor": "end" }, moment(s.at)));
    y += 30;
  }
  const height = y + 2;
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `What was sent and when: ${what.map(sentence).join("; ")}` },
    shown.map((n) => [
      svg("line", { class: "lane", x1: lanes[n], x2: lanes[n], y1: top - 6, y2: height - 4 }),
      svg("text", { class: "name", x: lanes[n], y: 13, "text-anchor": n === shown.at(-1) ? "end" : "middle" },
        { client: "client", gate: "hushgate", server: v.server }[n]),
    ]), body);
}
