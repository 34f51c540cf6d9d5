// The table of labels: of many there are as many rows as fit, which are filled anew when it is scrolled.

const labels = new Map(); // name -> {name, status, state, rates, text}
let matching = [];
let rowHeight = 0;
const pool = [];
const scroller = byId('scroller'), rows = byId('rows');

/** Takes the labels of an answer of /status; anew: of another process than before. */
function takeLabels(all, anew) {
  const at = tick();
  const gone = new Set(labels.keys());
  for (const l of all) {
    let known = labels.get(l.label);
    if (!known) labels.set(l.label, known = {name: l.label, rates: new Rates()});
    gone.delete(l.label);
    known.status = l;
    known.state = stateOf(l);
    known.rates.add(at, l.bytes_up_total, l.bytes_down_total, anew);
    known.text = `${l.label} ${l.listen} ${l.master ? `${l.master.address} ${l.master.node} ${l.master.service_id}` : ''}`.toLowerCase();
  }
  for (const name of gone) labels.delete(name);
  filterLabels();
}

function filterLabels() {
  const wanted = byId('filter').value.trim().toLowerCase(), troubled = byId('trouble-only').checked;
  matching = [...labels.values()].filter(l => (!wanted || l.text.includes(wanted)) && (!troubled || l.state[1] !== 'good'));
  say(byId('shown'), matching.length === labels.size ? '' : `${count(matching.length)} of ${count(labels.size)}`);
  byId('nothing').hidden = matching.length > 0 || labels.size === 0;
  measureRows();
  showRows();
}

function measureRows() {
  rowHeight = parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row'));
  rows.style.height = matching.length * rowHeight + 'px';
}

/** Fills the rows that can be seen. What is laid out is read before anything is written, or after. */
function showRows() {
  const top = scroller.scrollTop, height = scroller.clientHeight;
  const first = Math.max(0, Math.floor(top / rowHeight) - 1);
  const last = Math.min(matching.length, Math.ceil((top + height) / rowHeight) + 1);
  keepRows(last - first);
  const used = new Set();
  for (let i = first; i < last; i++) {
    const row = pool[i % pool.length];
    used.add(row);
    row.element.hidden = false;
    row.element.style.transform = `translateY(${i * rowHeight}px)`;
    row.element.ariaRowIndex = i + 2;
    fillRow(row, matching[i]);
  }
  for (const row of pool) if (!used.has(row)) row.element.hidden = true;
  for (const row of used) plotRow(row);
}

/** Has at least so many rows, so that none is used for two places. */
function keepRows(needed) {
  while (pool.length < needed) pool.push(makeRow());
}

function makeRow() {
  const cell = (className, ...parts) => {
    const e = make('div', className);
    e.role = 'cell';
    e.append(...parts);
    return e;
  };
  const r = {
    element: make('div', 'row'), name: make('button', 'name'), listen: make('span', 'quiet'), state: make('span', 'pill'), until: make('span', 'quiet'),
    master: make('span', 'cut'), since: make('span', 'quiet'), epoch: cell('number'), live: make('span', 'cut'), held: make('span', 'quiet'),
    plot: make('canvas'), up: make('div', 'up'), down: make('div', 'down'), cut: make('span', 'cut'), times: make('span', 'quiet'),
  };
  r.element.role = 'row';
  r.name.type = 'button';
  r.name.addEventListener('click', () => openPanel(r.label));
  const rates = cell('rates', r.plot, make('div'));
  rates.lastChild.append(r.up, r.down);
  r.element.append(cell('', r.name, r.listen), cell('', r.state, r.until), cell('', r.master, r.since), r.epoch,
    cell('number', r.live, r.held), rates, cell('', r.cut, r.times));
  rows.append(r.element);
  return r;
}

function fillRow(r, l) {
  const s = l.status;
  r.label = l.name;
  say(r.name, l.name);
  say(r.listen, `${s.listen} · ${s.source}`);
  pill(r.state, ...l.state);
  say(r.until, s.paused ? `${span(seconds(s.paused.until) - now())} left` : s.lost_since ? `for ${span(now() - seconds(s.lost_since))}` : '');
  say(r.master, s.master ? s.master.address : 'none');
  say(r.since, s.master ? `for ${span(now() - seconds(s.master.since))}` : s.reason);
  say(r.epoch, s.master ? String(s.master.epoch) : '–');
  say(r.live, count(s.active));
  say(r.held, s.held ? `${count(s.held)} held` : '');
  say(r.up, '↑ ' + rate(l.rates.now[0]));
  say(r.down, '↓ ' + rate(l.rates.now[1]));
  const f = s.last_failover;
  say(r.cut, f ? `${span(now() - seconds(f.at))} ago, ${count(f.dropped)} cut` : 'none');
  say(r.times, f ? `fenced ${micros(f.fence_us)}, done ${millis(f.cut_ms)}${f.reason ? ', ' + f.reason : ''}` : '');
  r.rates = l.rates;
}

const plotRow = r => plot(r.plot, r.rates, ['up', 'down']);

let scrolled = false;
scroller.addEventListener('scroll', () => {
  if (scrolled) return;
  scrolled = true;
  requestAnimationFrame(() => {
    scrolled = false;
    showRows();
  });
}, {passive: true});
byId('filter').addEventListener('input', filterLabels);
byId('trouble-only').addEventListener('change', filterLabels);
addEventListener('resize', () => {
  measureRows();
  showRows();
});
