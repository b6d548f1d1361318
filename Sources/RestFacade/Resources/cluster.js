// The cluster, and everything that happened in it.

import { h, setText, setClass, fmt } from './dom.js';
import { get } from './api.js';
import { eventLine } from './detail.js';

export class ClusterView {
  constructor(source) {
    this.source = source;
    this.facts = h('dl', { class: 'facts card' });
    this.nodes = h('div', { class: 'nodes' });
    this.node = h('section', { class: 'view' }, h('div', { class: 'tools' }, h('h1', {}, 'Cluster')), this.facts, h('h2', {}, 'Nodes'), this.nodes);
    this.held = new Map();
    this.load();
    this.timer = setInterval(() => this.load(), 3000);
    this.update();
  }

  stop() { clearInterval(this.timer); }

  async load() {
    if (document.hidden) return;
    try {
      const { nodes } = await get('/nodes');
      this.held = new Map(nodes.map((node) => [node.node_id, node]));
      this.update();
    } catch (error) {
      console.info(error.message);
    }
  }

  update() {
    const cluster = this.source.cluster;
    if (!cluster) {
      if (this.source.isKnown()) this.facts.replaceChildren('This token is limited to some apps; the cluster is not shown.');
      return;
    }
    const apps = [...this.source.apps.values()];
    const facts = [
      ['Leader', cluster.leader_id ?? 'none, one is elected'], ['Epoch', String(cluster.term)],
      ['Last change of leader', cluster.acquired_at ? `${fmt.ago(cluster.acquired_at)}, ${fmt.date(cluster.acquired_at)}` : '–'],
      ['Mode', cluster.mode ?? '–'],
      ['Apps', `${apps.filter((app) => app.status === 'running').length} running of ${apps.length}`],
      ['Instances', `${apps.reduce((sum, app) => sum + app.ready, 0)} ready of ${apps.reduce((sum, app) => sum + app.wanted, 0)} wanted`],
    ];
    const text = JSON.stringify(facts);
    if (text !== this.shownFacts) {
      this.shownFacts = text;
      this.facts.replaceChildren(...facts.map(([label, value]) => h('div', { class: 'fact' }, h('dt', {}, label), h('dd', {}, value))));
    }
    const nodes = JSON.stringify([cluster.nodes, [...this.held.values()]]);
    if (nodes === this.shownNodes) return;
    this.shownNodes = nodes;
    this.nodes.replaceChildren(...cluster.nodes.map((node) => this.card(node, this.held.get(node.node_id), cluster)));
  }

  card(node, held, cluster) {
    const state = !node.is_healthy ? ['bad', 'not connected'] : held?.draining ? ['busy', 'draining'] : held?.cordoned ? ['warn', 'cordoned'] : ['good', 'healthy'];
    const bar = (label, used, of, unit) => {
      const share = of ? (100 * used) / of : 0;
      const fill = h('i', {});
      fill.style.width = `${Math.min(100, share)}%`;
      setClass(fill, share >= 90 ? 'bad' : share >= 75 ? 'warn' : '');
      return h('div', { class: 'node-bar' }, h('span', {}, label), h('span', { class: 'muted' }, `${unit(used)} of ${unit(of)}`), h('div', { class: 'progress' }, fill));
    };
    const cores = (millicores) => fmt.number(Math.round(millicores / 100) / 10) + ' cores';
    return h('article', { class: `card node ${node.node_id === cluster.leader_id ? 'leads' : ''}` },
      h('header', {}, h('span', { class: `dot ${state[0]}`, 'aria-hidden': 'true' }), h('h3', {}, node.node_id),
        node.node_id === cluster.leader_id ? h('span', { class: 'badge busy' }, 'leader') : null,
        h('span', { class: `badge ${state[0]}` }, state[1])),
      h('p', { class: 'muted' }, node.role, node.node_id === cluster.node_id ? ' · this page comes from it' : ' · ',
        node.node_id === cluster.node_id || !/^https?:/.test(node.api_url) ? null : h('a', { href: `${node.api_url}/ui` }, 'open its dashboard')),
      held ? [
        h('p', {}, `${fmt.plural(held.instances ?? 0, 'instance')}`),
        held.reserved && held.capacity ? [
          bar('CPU reserved', held.reserved.cpu_millicores, held.capacity.cpu_millicores, cores),
          bar('Memory reserved', held.reserved.memory_bytes, held.capacity.memory_bytes, fmt.bytes)] : null,
      ] : null);
  }
}

export class EventsView {
  constructor(source) {
    this.source = source;
    this.list = h('ol', { class: 'events' });
    this.input = h('input', { id: 'search', type: 'search', placeholder: 'App, type or words  ( / )', 'aria-label': 'Filter events', oninput: () => this.filter() });
    this.node = h('section', { class: 'view' }, h('div', { class: 'tools' }, h('h1', {}, 'Events'), this.input), this.list);
    for (const event of source.events) this.list.append(eventLine(event, true));
    this.load();
  }

  stop() {}

  async load() {
    try {
      const { events } = await get('/events?limit=300');
      const known = new Set([...this.list.children].map((node) => node.dataset.id));
      for (const event of events) if (!known.has(event.id)) this.list.append(eventLine(event, true));
      this.filter();
    } catch (error) {
      this.list.append(h('li', { class: 'muted' }, error.message));
    }
  }

  happened(event) {
    const node = eventLine(event, true);
    node.hidden = !this.admits(node);
    this.list.prepend(node);
    if (this.list.children.length > 600) this.list.lastElementChild.remove();
  }

  admits(node) {
    const words = this.input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const text = node.textContent.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  filter() {
    for (const node of this.list.children) node.hidden = !this.admits(node);
  }
}
