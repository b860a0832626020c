// The control API, as the browser speaks it. The session's cookie says who we are; the header shows the server that a page of
// its own asks, and not a foreign one.

export class Failure extends Error {
  constructor(status, problem) {
    super(problem?.detail || `the gateway answered with status ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

let heard = () => {};

// onLevel calls a function with the level of whoever asks, as each answer tells it: a session may end at any time.
export function onLevel(f) {
  heard = f;
}

async function ask(method, path, { body, token } = {}) {
  const headers = { "X-Hushgate-Page": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token !== undefined) headers["Authorization"] = `Bearer ${token}`;
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store", redirect: "error",
    signal: AbortSignal.timeout(70000),
  });
  if (answer.headers.has("Hushgate-Level")) heard(answer.headers.get("Hushgate-Level"));
  if (answer.status === 204) return null;
  const isJSON = (answer.headers.get("Content-Type") ?? "").includes("json");
  const value = isJSON ? await answer.json() : null;
  if (!answer.ok) throw new Failure(answer.status, value);
  return value;
}

export const get = (path) => ask("GET", path);
export const post = (path, body) => ask("POST", path, { body });
export const patch = (path, body) => ask("PATCH", path, { body });
export const remove = (path) => ask("DELETE", path);

export const session = {
  get: () => ask("GET", "session"),
  begin: (token) => ask("POST", "session", { token }),
  end: () => ask("DELETE", "session"),
};

// parts reads a list that comes in parts, up to a number of members.
export async function parts(path, member, most, parameters = {}) {
  const all = [];
  let cursor = "";
  for (let turn = 0; turn < 50; turn++) {
    const query = new URLSearchParams({ ...parameters, limit: "200" });
    if (cursor) query.set("cursor", cursor);
    const part = await get(`${path}?${query}`);
    all.push(...part[member]);
    cursor = part.next;
    if (!cursor || all.length >= most) break;
  }
  return { list: all.slice(0, most), more: cursor !== "" || all.length > most };
}

// path joins parts of a path that may have any character.
export const path = (...words) => words.map(encodeURIComponent).join("/");
