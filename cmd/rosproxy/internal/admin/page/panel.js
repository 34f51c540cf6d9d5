// All that is known of one label.

const panel = byId('panel');
let panelLabel = null;

function openPanel(name) {
  panelLabel = name;
  panel.showModal();
  showPanel();
}
byId('panel-close').addEventListener('click', () => panel.close());
panel.addEventListener('close', () => { if (!panel.open) panelLabel = null; }); // it comes a moment after the end
panel.addEventListener('click', e => {
  if (e.target === panel) panel.close(); // outside of it
});

function showPanel() {
  const l = labels.get(panelLabel);
  if (!l) {
    if (panel.open) panel.close(); // the configuration has it no more
    return;
  }
  const s = l.status;
  say(byId('panel-title'), l.name);
  pill(byId('panel-state'), ...l.state);
  say(byId('panel-reason'), s.reason);
  say(byId('panel-up'), `to the master ${rate(l.rates.now[0])}`);
  say(byId('panel-down'), `to clients ${rate(l.rates.now[1])}`);
  plot(byId('panel-plot'), l.rates, ['up', 'down']);
  byId('panel-actions').hidden = !unlocked;
  byId('do-resume').hidden = !s.paused;
  facts(byId('panel-facts'), factsOf(s));
}

function factsOf(s) {
  const m = s.master, f = s.last_failover, k = s.leader, r = s.fence_report;
  return [
    ['Listener', s.listen],
    ['Masters from', s.source],
    ['Master', m ? `${m.address}${m.service_id ? `, service ${m.service_id}` : ''}${m.node ? `, node ${m.node}` : ''}` : 'none'],
    ['Since', m ? `${moment(m.since)}, epoch ${m.epoch}` : s.lost_since ? `lost ${moment(s.lost_since)}` : null],
    ['Paused until', s.paused ? moment(s.paused.until) : null],
    ['Connections', `${count(s.active)} live, ${count(s.held)} of them held; ${count(s.accepted_total)} accepted so far`],
    ['Masters seen', String(s.masters_seen)],
    ['Failovers', count(s.failovers_total)],
    ['Last failover', f ? `${moment(f.at)}: ${f.from || 'none'} → ${f.to || 'none'}, ${count(f.dropped)} cut, fenced in ${micros(f.fence_us)}, done in ${millis(f.cut_ms)}` : null],
    ['Its id', f ? f.id : null],
    ['Its reason', f && f.reason ? f.reason : null],
    ['Leader key', k ? `${k.key}: ${k.holder || 'nobody'}, ${k.locked ? 'locked' : 'not locked'}, ${k.ready ? 'ready' : 'not ready'}, index ${k.modify_index}` : null],
    ['Fence report', r ? `${r.key}: obeyed ${r.obeyed}, lease ${r.lease_s.toFixed(1)} s${r.error ? '; ' + r.error : ''}` : null],
    ['Not passing', s.failing && s.failing.length ? s.failing.map(c => `${c.service_id} on ${c.node}: ${c.check} is ${c.status}`).join('; ') : null],
  ].filter(([, text]) => text !== null);
}

/** Shows names and texts as a list of definitions. */
function facts(list, all) {
  while (list.children.length > 2 * all.length) list.lastChild.remove();
  while (list.children.length < 2 * all.length) list.append(make('dt'), make('dd'));
  all.forEach(([name, text], i) => {
    say(list.children[2 * i], name);
    say(list.children[2 * i + 1], text);
  });
}
