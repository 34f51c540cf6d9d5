// Bytes a second over the last five minutes, a value a second.

const slots = 300;

class Rates {
  up = new Float32Array(slots).fill(NaN);
  down = new Float32Array(slots).fill(NaN);
  now = [NaN, NaN];
  last = null; // of the counters: at, in seconds, up and down

  /** Takes the counters as they are at a time, in whole and fractions of seconds; those of another process count from 0 anew. */
  add(at, up, down, anew) {
    const before = this.last, slot = Math.floor(at);
    const took = before ? at - before.at : 0;
    this.last = {at, up, down};
    this.now = anew || took <= 0 || up < before.up || down < before.down ? [NaN, NaN] : [(up - before.up) / took, (down - before.down) / took];
    for (let s = Math.max(before ? Math.floor(before.at) + 1 : slot, slot - slots + 1); s <= slot; s++) {
      const isGap = took > 5 && s < slot; // nobody looked
      this.up[s % slots] = isGap ? NaN : this.now[0];
      this.down[s % slots] = isGap ? NaN : this.now[1];
    }
  }
}

let colours = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  colours = {up: style.getPropertyValue('--up'), down: style.getPropertyValue('--down'), line: style.getPropertyValue('--line')};
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', readColours);

/** Draws the lines of these names, up or down or both, in one scale. */
function plot(canvas, rates, names) {
  const end = Math.floor(rates.last.at);
  const scale = devicePixelRatio, box = [canvas.clientWidth, canvas.clientHeight];
  const [width, height] = box.map(n => Math.round(n * scale));
  if (!width || !height) return;
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const c = canvas.getContext('2d');
  c.clearRect(0, 0, width, height);
  c.fillStyle = colours.line;
  c.fillRect(0, height - scale, width, scale);
  let most = 1;
  for (const name of names) for (const v of rates[name]) if (v > most) most = v;
  c.lineWidth = 1.5 * scale;
  c.lineJoin = 'round';
  for (const name of names) {
    c.strokeStyle = colours[name];
    c.beginPath();
    let drawn = false;
    for (let i = 0; i < slots; i++) {
      const v = rates[name][(end + 1 + i) % slots];
      if (Number.isNaN(v)) {
        drawn = false;
        continue;
      }
      const x = i / (slots - 1) * width, y = height - scale * 1.5 - v / most * (height - scale * 3);
      if (drawn) c.lineTo(x, y);
      else c.moveTo(x, y);
      drawn = true;
    }
    c.stroke();
  }
}
