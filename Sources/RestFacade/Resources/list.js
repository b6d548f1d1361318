// All apps. A row exists only while it can be seen, and is changed only where its figures did: 500 apps cost what 20 do.

import { h, setText, setClass, fmt } from './dom.js';
import { sparkline } from './charts.js';

/** What an app's row says, most urgent first. */
export function condition(app) {
  if (app.status === 'stopped') return { kind: 'off', word: 'stopped', rank: 4 };
  if (app.rollout) {
    const failed = app.rollout.state === 'failed';
    return { kind: failed ? 'bad' : 'busy', word: failed ? 'rollout failed' : app.rollout.state === 'paused' ? 'rollout paused' : 'rolling out', rank: failed ? 0 : 2 };
  }
  if (app.wanted > 0 && app.ready === 0) return { kind: 'bad', word: 'down', rank: 0 };
  if (app.ready < app.wanted) return { kind: 'warn', word: 'starting', rank: 1 };
  if (app.ready > app.wanted) return { kind: 'busy', word: 'shrinking', rank: 2 };
  return { kind: 'good', word: 'healthy', rank: 3 };
}

const FILTERS = [
  ['all', 'All', () => true],
  ['attention', 'Need attention', (app) => condition(app).rank <= 1],
  ['moving', 'In motion', (app) => condition(app).rank === 2 || condition(app).rank === 1],
  ['stopped', 'Stopped', (app) => app.status === 'stopped'],
];

const COLUMNS = [
  ['name', 'App', (a, b) => a.name.localeCompare(b.name)],
  ['state', 'State', (a, b) => condition(a).rank - condition(b).rank],
  ['replicas', 'Replicas', (a, b) => b.wanted - a.wanted],
  ['rps', 'Requests/s', (a, b) => (b.metrics?.rps ?? -1) - (a.metrics?.rps ?? -1)],
  ['p95', 'p95', (a, b) => (b.metrics?.p95_latency_ms ?? -1) - (a.metrics?.p95_latency_ms ?? -1)],
  ['cpu', 'CPU', (a, b) => (b.metrics?.cpu_percent ?? -1) - (a.metrics?.cpu_percent ?? -1)],
  ['memory', 'Memory', (a, b) => (b.metrics?.memory_percent ?? -1) - (a.metrics?.memory_percent ?? -1)],
];

function meter(value) {
  const bar = h('i', {});
  const text = h('span', {});
  const node = h('span', { class: 'meter' }, h('span', { class: 'meter-bar', 'aria-hidden': 'true' }, bar), text);
  return {
    node,
    set(percent) {
      bar.style.width = `${Math.min(100, percent ?? 0)}%`;
      setClass(bar, percent >= 90 ? 'bad' : percent >= 75 ? 'warn' : '');
      setText(text, fmt.percent(percent));
    },
  };
}

class Row {
  constructor(onOpen) {
    this.dot = h('span', { class: 'dot', 'aria-hidden': 'true' });
    this.name = h('a', { class: 'row-name', tabindex: -1 });
    this.image = h('span', { class: 'row-image' });
    this.word = h('span', { class: 'badge' });
    this.ready = h('span', { class: 'row-ready' });
    this.mode = h('span', { class: 'row-mode' });
    this.rps = h('span', { class: 'figure' });
    this.spark = sparkline();
    this.p95 = h('span', { class: 'figure' });
    this.cpu = meter();
    this.memory = meter();
    this.node = h('div', { class: 'row', role: 'row' },
      h('div', { class: 'cell c-name', role: 'cell' }, this.dot, h('span', { class: 'row-title' }, this.name, this.image)),
      h('div', { class: 'cell c-state', role: 'cell' }, this.word),
      h('div', { class: 'cell c-replicas', role: 'cell' }, this.ready, this.mode),
      h('div', { class: 'cell c-rps', role: 'cell' }, this.rps, this.spark.node),
      h('div', { class: 'cell c-p95', role: 'cell' }, this.p95),
      h('div', { class: 'cell c-cpu', role: 'cell' }, this.cpu.node),
      h('div', { class: 'cell c-memory', role: 'cell' }, this.memory.node));
    this.node.addEventListener('click', (event) => {
      if (event.target.closest('a')) return;
      onOpen(this.app.name);
    });
    this.app = null;
  }

  show(app, recent) {
    if (this.app !== app) {
      this.app = app;
      const { kind, word } = condition(app);
      setClass(this.dot, `dot ${kind}`);
      setText(this.name, app.name);
      this.name.href = `#/apps/${encodeURIComponent(app.name)}`;
      setText(this.image, app.image);
      setText(this.word, word);
      setClass(this.word, `badge ${kind}`);
      this.word.title = app.problem ?? '';
      setText(this.ready, `${app.ready} / ${app.wanted}`);
      setText(this.mode, app.paused ? 'paused' : app.mode === 'auto' ? `auto ${app.min}–${app.max}` : 'manual');
      const metrics = app.metrics;
      setText(this.rps, metrics ? fmt.number(metrics.rps) : '–');
      setText(this.p95, metrics?.p95_latency_ms ? fmt.ms(metrics.p95_latency_ms) : '–');
      this.cpu.set(metrics?.cpu_percent);
      this.memory.set(metrics?.memory_percent);
    }
    this.spark.draw(recent);
  }
}

export class AppList {
  /** @param {{apps: Map, recent: Map, open: (name: string) => void}} source */
  constructor(source) {
    this.source = source;
    this.filter = 'all';
    this.sort = 'name';
    this.text = '';
    this.selected = null;
    this.rows = new Map();
    this.spare = [];
    this.search = h('input', {
      id: 'search', type: 'search', placeholder: 'Find an app  ( / )', 'aria-label': 'Find an app', autocomplete: 'off', spellcheck: 'false',
      oninput: () => { this.text = this.search.value.trim().toLowerCase(); this.scroller.scrollTop = 0; this.arrange(); },
    });
    this.chips = FILTERS.map(([id, label]) => {
      const count = h('span', { class: 'count' });
      const node = h('button', { class: 'filter', type: 'button', 'aria-pressed': 'false', onclick: () => { this.filter = id; this.scroller.scrollTop = 0; this.arrange(); } }, label, count);
      return { id, node, count };
    });
    this.heads = COLUMNS.map(([id, label]) => {
      const node = h('button', { class: `head h-${id}`, type: 'button', role: 'columnheader', onclick: () => { this.sort = id; this.arrange(); } }, label);
      return { id, node };
    });
    this.space = h('div', { class: 'rows', role: 'rowgroup' });
    this.nothing = h('p', { class: 'empty', hidden: true });
    this.scroller = h('div', { class: 'scroller', tabindex: 0, 'aria-label': 'Apps; j and k move, Enter opens', onscroll: () => this.paint() }, this.space);
    this.status = h('p', { class: 'visually-hidden', role: 'status', 'aria-live': 'polite' });
    this.node = h('section', { class: 'view apps' },
      h('div', { class: 'tools' }, h('h1', {}, 'Apps'), this.search, h('div', { class: 'filters', role: 'group', 'aria-label': 'Which apps' }, this.chips.map((chip) => chip.node))),
      h('div', { class: 'table', role: 'table', 'aria-label': 'Apps' },
        h('div', { class: 'heads', role: 'row' }, this.heads.map((head) => head.node)), this.scroller),
      this.nothing, this.status);
    this.order = [];
    this.sized = new ResizeObserver(() => this.paint());
    this.sized.observe(this.scroller);
  }

  /** Which rows there are and in what order; then shows them. */
  arrange() {
    const all = [...this.source.apps.values()];
    for (const chip of this.chips) {
      const admits = FILTERS.find(([id]) => id === chip.id)[2];
      setText(chip.count, fmt.number(all.filter(admits).length));
      chip.node.setAttribute('aria-pressed', String(chip.id === this.filter));
    }
    for (const head of this.heads) {
      head.node.setAttribute('aria-sort', head.id === this.sort ? (head.id === 'name' || head.id === 'state' ? 'ascending' : 'descending') : 'none');
    }
    const admits = FILTERS.find(([id]) => id === this.filter)[2];
    const before = COLUMNS.find(([id]) => id === this.sort)[2];
    this.order = all
      .filter((app) => admits(app) && (!this.text || app.name.includes(this.text) || app.image.toLowerCase().includes(this.text)))
      .sort((a, b) => before(a, b) || a.name.localeCompare(b.name));
    this.scroller.parentNode.setAttribute('aria-rowcount', this.order.length + 1);
    this.nothing.hidden = this.order.length > 0 || !this.source.isKnown();
    if (!this.nothing.hidden) {
      this.nothing.replaceChildren(all.length ? 'No app matches.' : 'No apps yet. Register one: ', all.length ? '' : h('code', {}, 'orchestry register app.yaml && orchestry up NAME'));
    }
    if (this.text) setText(this.status, fmt.plural(this.order.length, 'app'));
    this.paint();
  }

  rowHeight() { return matchMedia('(max-width: 760px)').matches ? 76 : 52; }

  /** Makes the rows that can be seen what they should be. */
  paint() {
    const height = this.rowHeight();
    this.space.style.height = `${this.order.length * height}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / height) - 4);
    const last = Math.min(this.order.length, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / height) + 4);
    const wanted = new Set();
    for (let index = first; index < last; index += 1) wanted.add(this.order[index].name);
    for (const [name, row] of this.rows) {
      if (wanted.has(name)) continue;
      this.rows.delete(name);
      row.node.remove();
      if (this.spare.length < 40) this.spare.push(row);
    }
    for (let index = first; index < last; index += 1) {
      const app = this.order[index];
      let row = this.rows.get(app.name);
      if (!row) {
        row = this.spare.pop() ?? new Row(this.source.open);
        this.rows.set(app.name, row);
        this.space.append(row.node);
      }
      row.node.style.transform = `translateY(${index * height}px)`;
      row.node.setAttribute('aria-rowindex', index + 2);
      row.node.classList.toggle('selected', app.name === this.selected);
      row.show(app, this.source.recent.get(app.name) ?? []);
    }
  }

  move(by) {
    if (!this.order.length) return;
    const now = this.order.findIndex((app) => app.name === this.selected);
    const next = now < 0 ? (by > 0 ? 0 : this.order.length - 1) : Math.min(this.order.length - 1, Math.max(0, now + by));
    this.selected = this.order[next].name;
    const height = this.rowHeight();
    if (next * height < this.scroller.scrollTop) this.scroller.scrollTop = next * height;
    else if ((next + 1) * height > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = (next + 1) * height - this.scroller.clientHeight;
    this.paint();
    setText(this.status, `${this.selected}, ${condition(this.order[next]).word}`);
  }

  openSelected() {
    const app = this.order.find((candidate) => candidate.name === this.selected) ?? (this.text ? this.order[0] : undefined);
    if (app) this.source.open(app.name);
  }
}
