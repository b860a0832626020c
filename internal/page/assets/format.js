// Numbers, times and the gateway's words, for people.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export const count = (n) => whole.format(n);

// rate shows a number that may be small.
export const rate = (n) => (n >= 10 ? whole : tenth).format(n);

// span shows a time in milliseconds, with two or three figures.
export function span(ms) {
  if (ms < 1000) return `${whole.format(ms)} ms`;
  if (ms < 9950) return `${tenth.format(ms / 1000)} s`;
  if (ms < 120e3) return `${whole.format(ms / 1000)} s`;
  if (ms < 7200e3) return `${whole.format(ms / 60e3)} min`;
  if (ms < 172800e3) return `${whole.format(ms / 3600e3)} h`;
  return `${whole.format(ms / 86400e3)} days`;
}

// moment shows a time within a connection, to the millisecond where that tells steps apart.
export function moment(ms) {
  return ms < 1000 ? `${whole.format(ms)} ms` : `${(ms / 1000).toFixed(ms < 100e3 ? 3 : 1)} s`;
}

export function octets(n) {
  const units = ["octets", "kB", "MB", "GB", "TB"];
  let u = 0;
  while (n >= 1000 && u < units.length - 1) {
    n /= 1000;
    u++;
  }
  return `${(n < 10 && u > 0 ? tenth : whole).format(n)} ${units[u]}`;
}

export const clock = (date) => date.toLocaleTimeString("en-GB");

// plural counts things.
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export const verdicts = ["quiet", "early-talker", "hang-up", "no-server", "refused", "none"];

const verdictWords = {
  "quiet": "quiet",
  "early-talker": "early talker",
  "hang-up": "hang-up",
  "no-server": "no server",
  "refused": "refused",
  "none": "none",
};

export const verdictWord = (v) => verdictWords[v] ?? v;

// hostport shows an address and port.
export const hostport = (address, port) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
