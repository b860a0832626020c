// Elements, without any markup in strings: what clients of the gateway sent becomes text, and nothing else.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// el makes an HTML element. Strings among its children become text.
export const el = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);

// svg makes an SVG element.
export const svg = (name, attributes = {}, ...children) => build(document.createElementNS(SVG, name), attributes, children);

// text sets the text of an element, and leaves it alone if it is the same: screen readers and selections notice a change.
export function text(node, value) {
  const s = String(value);
  if (node.textContent !== s) node.textContent = s;
}

// show shows or hides an element.
export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

let quiet;

// say tells everybody, screen readers included, what has happened. It is for few words.
export function say(words) {
  text($("said"), words);
  clearTimeout(quiet);
  quiet = setTimeout(() => text($("said"), ""), 6000);
}

// onResize calls draw when an element has another width.
export function onResize(node, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (node.clientWidth !== width) {
      width = node.clientWidth;
      draw();
    }
  }).observe(node);
}

// table makes a table that can be scrolled, also by keyboard.
export function table(caption, heads, rows) {
  return el("table", {}, el("caption", { class: "sr" }, caption),
    el("thead", {}, el("tr", {}, heads.map((h) => el("th", { scope: "col", class: h.n ? "n" : null }, h.name ?? h)))),
    el("tbody", {}, rows));
}
