// Follows /status: a second after each answer it is asked again, for as long as the page can be seen.

const every = 1000, patience = 10000;
const total = new Rates();
let ahead = 0; // the instance's clock before ours, in seconds
let pid = null;
let due = 0;
let asking = false;
let answered = 0; // when there was an answer last, by our clock

const now = () => Date.now() / 1000 + ahead;
const tick = () => performance.now() / 1000; // which nobody sets

async function ask(path) {
  const answer = await fetch(path, {cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(patience)});
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return [body, answer.headers.get('Date')];
}

async function poll() {
  clearTimeout(due);
  if (asking || document.hidden) return;
  asking = true;
  try {
    const [status, date] = await ask('status');
    const drain = status.state === 'serving' ? null : (await ask('drain'))[0];
    answered = Date.now();
    const off = Date.parse(date) / 1000 - answered / 1000; // of whole seconds
    if (off > 1 || off < -2) ahead = off;
    else ahead = 0;
    show(status, drain);
    byId('stale').hidden = true;
  } catch (err) {
    byId('stale').hidden = false;
    say(byId('stale'), `No answer: ${err.message}. ${answered ? `What is shown is ${span((Date.now() - answered) / 1000)} old.` : ''}`);
    say(byId('contact'), 'not reached');
  } finally {
    asking = false;
    due = setTimeout(poll, every);
  }
}

document.addEventListener('visibilitychange', poll);

function show(s, drain) {
  const anew = s.pid !== pid;
  pid = s.pid;
  document.title = `${s.state === 'serving' ? '' : s.state + ' · '}rosproxy · ${location.host}`;
  pill(byId('state'), s.state, s.state === 'serving' ? 'good' : 'warn');
  say(byId('facts'), `${location.host} · ${s.version} · generation ${s.generation} · pid ${s.pid} · up ${span(s.uptime_s)}`);
  say(byId('contact'), `as of ${new Date(now() * 1000).toLocaleTimeString('en-GB')}`);
  showDrain(drain);
  takeLabels(s.labels, anew);
  showTotals(s.labels, anew);
  showPanel();
  showEvents(s.events);
  showConsul(s.consul);
  showReports(s.labels);
  showDatacenters(s);
  byId('do-drain').hidden = s.state !== 'serving';
  byId('do-undrain').hidden = s.state === 'serving';
}

function showDrain(d) {
  const banner = byId('drain');
  banner.hidden = !d || d.state === 'serving';
  if (banner.hidden) return;
  const left = seconds(d.deadline) - now();
  say(banner, `${d.state}: ${count(d.active)} live, ${d.accepting ? 'still accepting' : 'not accepting'}${d.state === 'draining' ? `, ${left > 0 ? span(left) + ' to the deadline at ' + clock(d.deadline) : 'the deadline is over'}` : ''}`);
}

function showTotals(all, anew) {
  const sum = f => all.reduce((n, l) => n + f(l), 0);
  const troubled = [...labels.values()].filter(l => l.state[1] !== 'good').length, held = sum(l => l.held);
  say(byId('total-labels'), count(all.length));
  say(byId('total-trouble'), troubled ? `${count(troubled)} not well` : 'all well');
  say(byId('total-live'), count(sum(l => l.active)));
  say(byId('total-held'), `${count(held)} held`);
  total.add(tick(), sum(l => l.bytes_up_total), sum(l => l.bytes_down_total), anew);
  say(byId('total-up'), rate(total.now[0]));
  say(byId('total-down'), rate(total.now[1]));
  plot(byId('plot-up'), total, ['up']);
  plot(byId('plot-down'), total, ['down']);
}

const kinds = {failover: 'warn', lost: 'bad', back: 'good', pause: 'warn', resume: 'good', activation: 'warn'};
let shownEvents = '';

function showEvents(events) {
  const key = pid + (events.length ? events.at(-1).at + events.length + events.at(-1).message : '');
  if (key === shownEvents) return;
  shownEvents = key;
  byId('no-events').hidden = events.length > 0;
  byId('event-list').replaceChildren(...events.toReversed().map(e => {
    const item = make('li'), when = make('time', 'quiet', clock(e.at));
    when.dateTime = e.at;
    when.title = moment(e.at);
    item.append(when, make('span', `pill ${kinds[e.event] ?? ''}`, e.event), make('b', '', e.label), make('span', '', tell(e)));
    return item;
  }));
}

/** Shows a list of pills, their texts and kinds, each with what is to be said of it. */
function pills(list, all) {
  while (list.children.length > all.length) list.lastChild.remove();
  while (list.children.length < all.length) {
    const item = make('li');
    item.append(make('span', 'pill'), ' ', make('span'));
    list.append(item);
  }
  all.forEach(([word, kind, text], i) => {
    pill(list.children[i].firstChild, word, kind);
    say(list.children[i].lastChild, text);
  });
}

function showConsul(addresses) {
  byId('no-consul').hidden = addresses.length > 0;
  pills(byId('consul-list'), addresses.map(c => [c.ok ? 'ok' : 'no answer', c.ok ? 'good' : 'bad',
    `${c.address}, ${c.last_contact_s === null ? 'never reached' : `answered ${millis(c.last_contact_s * 1000)} ago`}, index ${count(c.index)}${c.error ? ': ' + c.error : ''}`]));
}

/** Shows each report once, with the least lease of its labels. */
function showReports(all) {
  const reports = new Map();
  for (const {fence_report: r} of all) {
    if (!r) continue;
    const known = reports.get(r.key) ?? {key: r.key, lease: Infinity, labels: 0, error: ''};
    reports.set(r.key, {...known, lease: Math.min(known.lease, r.lease_s), labels: known.labels + 1, error: known.error || r.error || ''});
  }
  byId('reports').hidden = reports.size === 0;
  pills(byId('report-list'), [...reports.values()].map(r => [r.lease > 0 ? `${r.lease.toFixed(1)} s` : 'no lease', r.lease > 0 && !r.error ? 'good' : 'bad',
    `${r.key}, ${count(r.labels)} label${r.labels === 1 ? '' : 's'}${r.error ? ': ' + r.error : ''}`]));
}

function showDatacenters(s) {
  const all = s.datacenters ?? [];
  byId('datacenters').hidden = all.length === 0;
  if (all.length === 0) return;
  say(byId('datacenter-active'), `${s.active_datacenter ? s.active_datacenter + ' is active' : 'None is known to be active'}, term ${s.term}${s.datacenter ? `; this instance is in ${s.datacenter}` : ''}.`);
  pills(byId('datacenter-list'), all.map(d => [d.up ? 'up' : 'not read', d.up ? 'good' : 'bad', `${d.name}${d.name === s.active_datacenter ? ', active' : ''}${d.error ? ': ' + d.error : ''}`]));
}

readColours();
showLock();
poll();
