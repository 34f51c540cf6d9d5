// What changes something. The token is in this script's memory alone, until the page is left or locked.

let token = null;
let unlocked = false;
const needsToken = document.body.dataset.token === 'needed';
const us = 'page-' + Array.from(crypto.getRandomValues(new Uint8Array(3)), b => b.toString(16).padStart(2, '0')).join('');

function showLock() {
  byId('unlock').hidden = unlocked;
  byId('actions').hidden = !unlocked;
  byId('token').hidden = !needsToken;
  byId('token').required = needsToken;
  byId('lock').hidden = !unlocked;
  say(byId('why-locked'), unlocked ? '' : needsToken ? 'They need the admin token of this instance. It is kept in the memory of this page, and nowhere else.'
    : 'This instance asks for no token: whoever reaches this page may use them.');
  byId('panel-actions').hidden = !unlocked;
}

byId('unlock').addEventListener('submit', e => {
  e.preventDefault();
  token = byId('token').value;
  byId('token').value = '';
  unlocked = true;
  showLock();
});

function lock() {
  token = null;
  unlocked = false;
  showLock();
}
byId('lock').addEventListener('click', lock);

/** Ends the question that stands, with what was chosen. */
let settleQuestion = () => {};

// The event comes a moment after the end, when the next question may stand already.
byId('confirm').addEventListener('close', () => {
  if (!byId('confirm').open) settleQuestion();
});

/** Asks in a dialog; answers null, or what was chosen. */
function confirmed(title, text, yes, {withTime = false} = {}) {
  const dialog = byId('confirm');
  settleQuestion();
  say(byId('confirm-title'), title);
  say(byId('confirm-text'), text);
  say(byId('confirm-yes'), yes);
  byId('confirm-time').hidden = byId('confirm-quiet').hidden = !withTime;
  byId('confirm-close').checked = false;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise(done => {
    settleQuestion = () => done(dialog.returnValue !== 'yes' ? null : {time: byId('confirm-for').value, closeQuiet: byId('confirm-close').checked});
  });
}

/** Asks the instance to do something; the answer is said below the actions. */
async function act(method, path, query, done) {
  const result = byId('done');
  say(result, '…');
  result.className = '';
  try {
    const headers = needsToken ? {Authorization: 'Bearer ' + token} : {};
    const answer = await fetch(path + (query ? '?' + new URLSearchParams(query) : ''), {method, headers, cache: 'no-store', credentials: 'same-origin'});
    const body = await answer.json();
    if (answer.status === 401) lock();
    if (!answer.ok) throw new Error(body.error);
    say(result, done(body));
    poll();
  } catch (err) {
    result.className = 'bad';
    say(result, `Not done: ${err.message}`);
  }
  if (panel.open) panel.close();
}

function onAction(id, f) {
  byId(id).addEventListener('click', () => void f());
}

onAction('do-drain', async () => {
  if (await confirmed('Drain this instance?', 'It is unready at once, takes no new connections when the grace is over, and ends what is left at the deadline. Its process stays, so that it can be undone.', 'Drain')) {
    act('POST', 'drain', null, () => 'The drain has begun.');
  }
});
onAction('do-undrain', async () => {
  if (await confirmed('Undo the drain?', 'The instance is ready again, with its listeners open.', 'Undo')) {
    act('DELETE', 'drain', null, () => 'Back to serving.');
  }
});
onAction('do-reset', async () => {
  const n = byId('total-live').textContent;
  if (await confirmed(`Reset all ${n} live connections?`, 'Those of every label, now, by RST. Their clients may connect again at once.', 'Reset them')) {
    act('DELETE', 'connections', null, a => `${count(a.closed)} connections reset.`);
  }
});
onAction('do-pause', async () => {
  const label = panelLabel;
  const how = await confirmed(`Pause ${label}?`, 'New clients are held, live ones go on. It ends by itself.', 'Pause', {withTime: true});
  if (how) act('POST', 'pause', {label, by: us, for: how.time, ...how.closeQuiet && {close: 'quiet'}}, a => `${label} is paused, ${count(a.active)} are live.`);
});
onAction('do-resume', async () => {
  const label = panelLabel;
  if (await confirmed(`Resume ${label}?`, 'Whoever has paused it. Clients that are held go to its master.', 'Resume')) {
    act('DELETE', 'pause', {label}, () => `${label} is resumed.`);
  }
});
onAction('do-reset-label', async () => {
  const label = panelLabel;
  if (await confirmed(`Reset the live connections of ${label}?`, 'Now, by RST. Their clients may connect again at once.', 'Reset them')) {
    act('DELETE', 'connections', {label}, a => `${count(a.closed)} connections of ${label} reset.`);
  }
});
