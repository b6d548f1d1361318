// One app: what it does, why, with what instances, since which revision; its events and its logs.

import { h, setText, setClass, fmt, throttled } from './dom.js';
import { get, appPath } from './api.js';
import { chart } from './charts.js';
import { condition } from './list.js';
import { LogPanel } from './logs.js';
import * as dialogs from './dialogs.js';

const RANGES = [[5, '5 min'], [15, '15 min'], [60, '1 h'], [360, '6 h'], [1440, '24 h']];
const TABS = [['overview', 'Overview'], ['revisions', 'Revisions'], ['events', 'Events'], ['logs', 'Logs']];

function fact(label) {
  const value = h('dd', {});
  return { node: h('div', { class: 'fact' }, h('dt', {}, label), value), value };
}

function table(heads, caption) {
  const body = h('tbody', {});
  return {
    body,
    node: h('div', { class: 'table-box', tabindex: 0, role: 'region', 'aria-label': caption },
      h('table', { class: 'plain' }, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))), body)),
  };
}

export class Detail {
  constructor(name, tab, source) {
    this.name = name;
    this.source = source;
    this.stops = [];
    this.minutes = 15;
    this.points = [];
    this.decisions = [];
    this.policy = null;
    this.refreshStatus = throttled(700, () => this.loadStatus());
    this.refreshHistory = throttled(1500, () => this.loadHistory());
    this.refreshRevisions = throttled(1500, () => this.loadRevisions());
    this.build();
    this.select(tab);
    this.update();
    this.loadHistory();
    this.loadEvents();
    const timers = [setInterval(() => this.loadStatus(), 3000), setInterval(() => this.refreshHistory(), 60000)];
    this.stops.push(() => timers.forEach(clearInterval));
  }

  get app() { return this.source.apps.get(this.name); }

  stop() {
    this.stopped = true;
    for (const stop of this.stops) stop();
    this.logs.stop();
    for (const one of Object.values(this.charts)) one.stop();
  }

  // Parts

  build() {
    const button = (label, run, kind = '') => h('button', { class: `button ${kind}`, type: 'button', onclick: () => this.app && run(this.app) }, label);
    this.badge = h('span', { class: 'badge' });
    this.subtitle = h('p', { class: 'subtitle' });
    this.buttons = {
      scale: button('Scale…', dialogs.scale, 'primary'), pause: button('Pause autoscaling…', dialogs.pause),
      resume: button('Resume autoscaling…', dialogs.resume), rollback: button('Roll back…', (app) => dialogs.rollback(app)),
      retry: button('Retry…', dialogs.retry), start: button('Start…', dialogs.start, 'primary'), stop: button('Stop…', dialogs.stop),
    };
    this.tabs = TABS.map(([id, label]) => ({
      id, node: h('a', { class: 'tab', role: 'tab', id: `tab-${id}`, 'aria-controls': `panel-${id}`, href: `#/apps/${encodeURIComponent(this.name)}/${id}` }, label),
    }));
    this.logs = new LogPanel(this.name);
    this.panels = {
      overview: this.buildOverview(), revisions: this.buildRevisions(), events: this.buildEvents(), logs: this.logs.node,
    };
    this.missing = h('p', { class: 'empty', hidden: true });
    this.node = h('section', { class: 'view detail' },
      h('div', { class: 'title-line' },
        h('div', { class: 'title' }, h('a', { class: 'back', href: '#/apps', 'aria-label': 'Back to all apps' }, '←'),
          h('h1', {}, this.name), this.badge),
        h('div', { class: 'actions' }, Object.values(this.buttons))),
      this.subtitle, this.missing,
      h('div', { class: 'tab-line', role: 'tablist', 'aria-label': this.name }, this.tabs.map((tab) => tab.node)),
      Object.entries(this.panels).map(([id, panel]) => {
        panel.id = `panel-${id}`;
        panel.setAttribute('role', 'tabpanel');
        panel.setAttribute('aria-labelledby', `tab-${id}`);
        return panel;
      }));
  }

  buildOverview() {
    this.facts = { ready: fact('Ready'), wanted: fact('Wanted'), mode: fact('Scaling'), revision: fact('Revision'), rps: fact('Requests/s'), p95: fact('p95') };
    this.rollout = h('div', { class: 'card rollout', hidden: true });
    this.why = h('ul', { class: 'why' });
    this.decided = h('ol', { class: 'decisions' });
    this.charts = {
      replicas: chart({ title: 'Replicas', unit: (v) => fmt.plural(v, 'replica'), stepped: true, kind: 'wide' }),
      rps: chart({ title: 'Requests', unit: (v) => `${fmt.number(v)}/s` }),
      p95: chart({ title: 'Latency, 95th percentile', unit: fmt.ms, axis: (v) => fmt.ms(v).replace(' ', '\u00a0') }),
      cpu: chart({ title: 'CPU', unit: fmt.percent, axis: (v) => fmt.percent(v), ceiling: 100 }),
      memory: chart({ title: 'Memory', unit: fmt.percent, axis: (v) => fmt.percent(v), ceiling: 100 }),
    };
    this.instances = table(['Instance', 'State', 'Node', 'Address', 'CPU', 'Memory', 'Restarts', 'Since', 'Message'], 'Instances');
    this.instanceRows = new Map();
    this.noInstances = h('p', { class: 'empty small', hidden: true }, 'No instances.');
    this.ranges = h('div', { class: 'filters', role: 'group', 'aria-label': 'Time shown' }, RANGES.map(([minutes, label]) => h('button', {
      class: 'filter', type: 'button', 'aria-pressed': String(minutes === this.minutes), 'data-minutes': minutes,
      onclick: () => {
        this.choose(minutes);
        this.loadHistory();
      },
    }, label)));
    return h('div', { class: 'panel' },
      h('dl', { class: 'facts card' }, Object.values(this.facts).map((one) => one.node)),
      this.rollout,
      h('div', { class: 'two' },
        h('section', { class: 'card' }, h('h2', {}, 'Why it is so'), this.why),
        h('section', { class: 'card' }, h('h2', {}, 'Scaling decisions'), this.decided)),
      h('div', { class: 'section-line' }, h('h2', {}, 'Load'), this.ranges),
      h('div', { class: 'charts' }, Object.values(this.charts).map((one) => one.node)),
      h('h2', {}, 'Instances'), this.noInstances, this.instances.node);
  }

  choose(minutes) {
    this.minutes = minutes;
    for (const button of this.ranges.children) button.setAttribute('aria-pressed', String(button.dataset.minutes === String(minutes)));
  }

  buildRevisions() {
    this.revisions = table(['Revision', 'Image', 'Made', 'Origin', 'Outcome', ''], 'Revisions');
    return h('div', { class: 'panel' }, this.revisions.node);
  }

  buildEvents() {
    this.events = h('ol', { class: 'events' });
    return h('div', { class: 'panel' }, this.events);
  }

  select(tab) {
    this.tab = TABS.some(([id]) => id === tab) ? tab : 'overview';
    for (const one of this.tabs) one.node.setAttribute('aria-selected', String(one.id === this.tab));
    for (const [id, panel] of Object.entries(this.panels)) panel.hidden = id !== this.tab;
    if (this.tab === 'overview') this.loadStatus();
    if (this.tab === 'revisions') this.loadRevisions();
    if (this.tab === 'logs') this.logs.start(); else this.logs.stop();
  }

  // What comes by itself

  /** Once a second, and whenever the app's row has changed. */
  update() {
    const app = this.app;
    if (!app) {
      this.missing.hidden = !this.source.isKnown();
      setText(this.missing, `There is no app ${this.name}.`);
      for (const one of Object.values(this.buttons)) one.hidden = true;
      return;
    }
    this.missing.hidden = true;
    const { kind, word } = condition(app);
    setClass(this.badge, `badge ${kind}`);
    setText(this.badge, word);
    setText(this.subtitle, app.image);
    const runs = app.status !== 'stopped';
    const isAuto = app.mode === 'auto';
    this.buttons.scale.hidden = !runs;
    this.buttons.pause.hidden = !runs || !isAuto || app.paused === 'both';
    this.buttons.resume.hidden = !runs || !isAuto || !app.paused;
    this.buttons.rollback.hidden = app.revision < 2;
    this.buttons.retry.hidden = !runs || app.ready >= app.wanted;
    this.buttons.start.hidden = runs;
    this.buttons.stop.hidden = !runs;
    setText(this.facts.ready.value, String(app.ready));
    setText(this.facts.wanted.value, String(app.wanted));
    const paused = { both: 'paused', in: 'not inwards', out: 'not outwards' }[app.paused];
    setText(this.facts.mode.value, isAuto ? `${paused ?? 'auto'} · ${app.min}\u2060–\u2060${app.max}` : 'manual');
    setText(this.facts.revision.value, String(app.revision));
    setText(this.facts.rps.value, app.metrics ? fmt.number(app.metrics.rps) : '–');
    setText(this.facts.p95.value, app.metrics?.p95_latency_ms ? fmt.ms(app.metrics.p95_latency_ms) : '–');
    this.showRollout(app);
    if (this.last !== app) {
      // Only a change of replicas or readiness is worth asking about at once.
      if (this.last && (this.last.ready !== app.ready || this.last.wanted !== app.wanted || this.last.instances !== app.instances)) this.refreshStatus();
      this.last = app;
    }
    this.points.push({
      t: Date.now() / 1000, rps: app.metrics?.rps ?? null, p95: app.metrics?.p95_latency_ms || null,
      cpu: app.metrics?.cpu_percent ?? null, memory: app.metrics?.memory_percent ?? null, replicas: app.wanted,
    });
    if (this.points.length > 12000) this.points.splice(0, 2000);
    this.draw();
  }

  showRollout(app) {
    const rollout = app.rollout;
    const text = rollout ? JSON.stringify(rollout) : '';
    if (text === this.shownRollout) return;
    this.shownRollout = text;
    this.rollout.hidden = !rollout;
    if (!rollout) return;
    const share = rollout.wanted ? Math.round((100 * rollout.ready) / rollout.wanted) : 0;
    const bar = h('i', {});
    bar.style.width = `${Math.min(100, share)}%`;
    const act = (label, what) => h('button', { class: 'button', type: 'button', onclick: () => dialogs.steer(this.app, what) }, label);
    this.rollout.replaceChildren(
      h('div', { class: 'section-line' },
        h('h2', {}, `Rollout of revision ${rollout.revision}`, rollout.from ? ` from ${rollout.from}` : ''),
        h('span', { class: 'muted' }, `${rollout.state}, ${rollout.phase}`),
        h('div', { class: 'actions' }, rollout.state === 'paused' ? act('Resume…', 'resume') : act('Pause…', 'pause'), act('Abort…', 'abort'))),
      h('div', { class: 'progress', role: 'progressbar', 'aria-valuenow': rollout.ready, 'aria-valuemin': 0, 'aria-valuemax': rollout.wanted, 'aria-label': 'Instances of the new revision that are ready' }, bar),
      h('p', { class: 'muted' }, `${rollout.ready} of ${rollout.wanted} instances of the new revision are ready, ${rollout.old} of others are left. ${rollout.reason ?? ''}`));
  }

  /** An event of this app. */
  happened(event) {
    this.addEvent(event, true);
    this.refreshStatus();
    if (['scaled', 'scale_requested', 'app_started', 'app_stopped', 'policy_updated'].includes(event.event_type)) this.refreshHistory();
    if (this.tab === 'revisions') this.refreshRevisions();
  }

  // What is asked for

  async quietly(work) {
    try {
      await work();
    } catch (error) {
      if (!this.stopped && error.status !== 404) console.info(error.message);
    }
  }

  async loadStatus() {
    if (this.stopped || this.tab !== 'overview' || document.hidden) return;
    await this.quietly(async () => {
      const [status, why] = await Promise.all([get(appPath(this.name, '/status')), get(appPath(this.name, '/why'))]);
      this.showInstances(status.instances);
      const sentences = why.summary.length ? why.summary : ['Nothing stands against what is wanted.'];
      const text = sentences.join('\n');
      if (text !== this.shownWhy) {
        this.shownWhy = text;
        this.why.replaceChildren(...sentences.map((sentence) => h('li', {}, sentence)));
      }
    });
  }

  async loadHistory() {
    if (this.stopped) return;
    await this.quietly(async () => {
      const minutes = this.minutes;
      const history = await get(appPath(this.name, `/history?minutes=${minutes}`));
      if (minutes !== this.minutes) return;
      const stored = history.points.map((point) => ({
        t: point.timestamp, rps: point.rps, p95: point.p95_latency_ms || null, cpu: point.cpu_percent, memory: point.memory_percent, replicas: point.replicas,
      }));
      // Of an app that is new a quarter of an hour would be mostly empty.
      if (!this.hasHistory && !(stored.length && stored[0].t < Date.now() / 1000 - 300)) this.choose(5);
      this.hasHistory = true;
      const end = stored.length ? stored[stored.length - 1].t : 0;
      this.points = [...stored, ...this.points.filter((point) => point.t > end)];
      this.decisions = history.decisions;
      this.showDecisions();
      this.draw();
    });
  }

  draw() {
    if (this.tab !== 'overview') return;
    const to = Date.now() / 1000;
    const from = to - this.minutes * 60;
    const shown = this.points.filter((point) => point.t >= from - 15);
    const series = (key) => shown.map((point) => ({ t: Math.max(point.t, from), v: point[key] ?? null }));
    const marks = this.decisions.map((decision) => ({
      t: decision.timestamp, from: decision.from_replicas, to: decision.to_replicas, text: reason(decision),
    }));
    this.charts.replicas.set({ points: series('replicas'), marks, from, to });
    for (const key of ['rps', 'p95', 'cpu', 'memory']) this.charts[key].set({ points: series(key), from, to });
  }

  showDecisions() {
    const newest = this.decisions.slice(-8).reverse();
    const text = JSON.stringify(newest.map((decision) => decision.id));
    if (text === this.shownDecisions) return;
    this.shownDecisions = text;
    this.decided.replaceChildren(...newest.map((decision) => {
      const up = decision.to_replicas > decision.from_replicas;
      return h('li', {},
        h('span', { class: `step ${up ? 'up' : 'down'}` }, `${decision.from_replicas} → ${decision.to_replicas}`),
        h('span', { class: 'decision-text' }, reason(decision), h('time', { class: 'muted' }, ` ${fmt.date(decision.timestamp)}`)));
    }));
    if (!newest.length) this.decided.replaceChildren(h('li', { class: 'muted' }, 'None in the time shown.'));
  }

  showInstances(instances) {
    this.noInstances.hidden = instances.length > 0;
    this.instances.node.hidden = instances.length === 0;
    const seen = new Set();
    for (const instance of instances) {
      seen.add(instance.instance);
      let row = this.instanceRows.get(instance.instance);
      if (!row) {
        const cells = Array.from({ length: 9 }, (_, index) => h(index === 0 ? 'th' : 'td', index === 0 ? { scope: 'row' } : {}));
        const badge = h('span', { class: 'badge' });
        cells[1].append(badge);
        row = { node: h('tr', {}, cells), cells, badge };
        this.instanceRows.set(instance.instance, row);
        this.instances.body.append(row.node);
      }
      const kinds = { ready: 'good', unhealthy: 'bad', 'crash-looping': 'bad', draining: 'busy', stopped: 'off' };
      setText(row.cells[0], instance.instance);
      setText(row.badge, instance.state);
      setClass(row.badge, `badge ${kinds[instance.state] ?? 'warn'}`);
      const texts = [instance.node, instance.ip ? `${instance.ip}:${instance.port}` : '–',
        instance.measured ? fmt.percent(instance.cpu_percent) : '–', instance.measured ? fmt.percent(instance.memory_percent) : '–',
        String(instance.restarts), fmt.ago(instance.since), instance.message || '–'];
      texts.forEach((text, index) => setText(row.cells[index + 2], text));
    }
    for (const [name, row] of this.instanceRows) {
      if (seen.has(name)) continue;
      row.node.remove();
      this.instanceRows.delete(name);
    }
  }

  async loadRevisions() {
    if (this.stopped) return;
    await this.quietly(async () => {
      const { revisions } = await get(appPath(this.name, '/revisions'));
      this.revisions.body.replaceChildren(...revisions.map((revision) => h('tr', {},
        h('th', { scope: 'row' }, String(revision.revision), revision.current ? h('span', { class: 'badge good' }, 'runs') : null),
        h('td', {}, revision.image), h('td', {}, fmt.date(revision.created_at)),
        h('td', {}, revision.restores ? `${revision.origin} of ${revision.restores}` : revision.origin),
        h('td', {}, revision.state === 'none' ? '–' : revision.state, revision.reason ? h('div', { class: 'muted' }, revision.reason) : null),
        h('td', { class: 'right' }, revision.current ? null : h('button', { class: 'button small', type: 'button', onclick: () => this.app && dialogs.rollback(this.app, revision.revision) }, 'Roll back to it…')))));
    });
  }

  async loadEvents() {
    await this.quietly(async () => {
      const { events } = await get(`/events?limit=200&app=${encodeURIComponent(this.name)}`);
      const known = new Set([...this.events.children].map((node) => node.dataset.id));
      for (const event of events) if (!known.has(event.id)) this.addEvent(event, false);
      if (!this.events.children.length) this.events.append(h('li', { class: 'muted none' }, 'No events.'));
    });
  }

  addEvent(event, first) {
    this.events.querySelector('.none')?.remove();
    const node = eventLine(event);
    if (first) this.events.prepend(node); else this.events.append(node);
    if (this.events.children.length > 400) this.events.lastElementChild.remove();
  }
}

/** The autoscaler is who decides; others are named. */
function reason(decision) {
  const text = decision.trigger_reason.replace(/ \(triggered by: [^)]*\)$/, '');
  return decision.triggered_by === 'autoscaler' ? text : `${text} (${decision.triggered_by})`;
}

const URGENT = /lost|failed|unhealthy|exited|rejected|refused|dropped|expiring/;

export function eventLine(event, withApp = false) {
  return h('li', { 'data-id': event.id, 'data-type': event.event_type },
    h('time', { title: event.node_id }, fmt.date(event.timestamp)),
    h('span', { class: 'event-kind' }, h('span', { class: `badge ${URGENT.test(event.event_type) ? 'bad' : ''}` }, event.event_type.replaceAll('_', ' '))),
    withApp ? (event.app_name ? h('a', { href: `#/apps/${encodeURIComponent(event.app_name)}` }, event.app_name) : h('span', { class: 'muted' }, 'cluster')) : null,
    h('span', { class: 'event-text' }, event.message));
}
