// How things are said. All text reaches the page by textContent.

const byId = id => document.getElementById(id);

/** Sets a text, if it is another one: most of what is shown stays as it was. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

/** Gives a pill its text and its kind: good, warn, bad or none. */
function pill(element, text, kind) {
  say(element, text);
  const name = 'pill ' + kind;
  if (element.className !== name) element.className = name;
}

const count = n => n.toLocaleString('en');

function rate(bytes) {
  if (!Number.isFinite(bytes)) return '–';
  const units = ['B/s', 'kB/s', 'MB/s', 'GB/s', 'TB/s'];
  let at = 0;
  while (bytes >= 999.5 && at < units.length - 1) {
    bytes /= 1000;
    at++;
  }
  return (at === 0 || bytes >= 99.5 ? bytes.toFixed(0) : bytes.toFixed(1)) + ' ' + units[at];
}

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min ' + s % 60 + ' s';
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s / 60) % 60 + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s / 3600) % 24 + ' h';
}

const millis = ms => ms < 1000 ? (ms < 10 ? ms.toFixed(1) : ms.toFixed(0)) + ' ms' : span(ms / 1000);
const micros = us => us < 1000 ? us.toFixed(0) + ' µs' : millis(us / 1000);
const seconds = text => Date.parse(text) / 1000;
const clock = text => new Date(text).toLocaleTimeString('en-GB');
const moment = text => new Date(text).toLocaleString('en-GB');

/** What is to be said of a label in a word, and how well that is. */
function stateOf(l) {
  if (l.paused) return ['paused', 'warn'];
  if (!l.master) return l.lost_since ? ['lost', 'bad'] : ['no master', 'bad'];
  if (l.fence_report && !l.fence_report.lease_s) return ['no lease', 'bad'];
  if (l.lost_since) return ['lost', 'bad'];
  if (l.masters_seen > 1) return [l.masters_seen + ' masters', 'warn'];
  if (l.held > 0) return ['holding', 'warn'];
  return ['ok', 'good'];
}

/** What an event says beside its name and label. */
function tell(e) {
  const because = e.reason ? ': ' + e.reason : '';
  switch (e.event) {
    case 'failover':
      return `${e.from || 'none'} → ${e.to || 'none'}, ${count(e.dropped)} cut, fenced in ${micros(e.fence_us)}, done in ${millis(e.cut_ms)}${because}`;
    case 'lost':
      return `${e.master}; ${count(e.live)} live connections ${e.connections}${because}`;
    case 'back':
      return `${e.master}, after ${millis(e.lost_ms)}`;
    case 'pause':
      return `by ${e.by || 'somebody'} until ${clock(e.until)}, ${count(e.live)} live`;
    case 'resume':
      return `${e.reason}, after ${millis(e.paused_ms)}, ${count(e.held)} held`;
    case 'activation':
      return `${e.from || 'none'} → ${e.to || 'none'}, term ${e.term}`;
  }
  const rest = Object.entries(e).filter(([name, value]) => !['at', 'event', 'label', 'message'].includes(name) && value !== '' && value !== false);
  return [e.message, ...rest.map(([name, value]) => field(name, value))].join(', ');
}

function field(name, value) {
  if (name.endsWith('_ms')) return `${name.slice(0, -3)} ${millis(value)}`;
  if (name === 'deadline') return `deadline ${clock(value)}`;
  return value === true ? name : `${name} ${value}`;
}
