// The page: what is known, which view shows it, and the keyboard.

import { h, setText, setClass, fmt, toast } from './dom.js';
import { follow, token } from './api.js';
import { AppList, condition } from './list.js';
import { Detail } from './detail.js';
import { ClusterView, EventsView } from './cluster.js';
import * as dialogs from './dialogs.js';

const SPARK_POINTS = 60;

const known = {
  apps: new Map(), recent: new Map(), events: [], cluster: null,
  told: false,
  // A token limited to some apps is told nothing of the cluster.
  isKnown: () => known.told,
  open: (name) => { location.hash = `#/apps/${encodeURIComponent(name)}`; },
};
const main = document.getElementById('main');
const list = new AppList(known);
let view = null;
let needsOrder = false;

// Views

function show() {
  const [place, name, tab] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  if (place === 'apps' && name && view instanceof Detail && view.name === name) {
    view.select(tab);
  } else {
    view?.stop?.();
    view = place === 'apps' && name ? new Detail(name, tab, known)
      : place === 'cluster' ? new ClusterView(known) : place === 'events' ? new EventsView(known) : null;
    main.replaceChildren((view ?? list).node);
    window.scrollTo(0, 0);
    if (!view) list.arrange();
  }
  const current = place === 'cluster' || place === 'events' ? place : 'apps';
  for (const link of document.querySelectorAll('[data-view]')) {
    if (link.dataset.view === current) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  document.title = name ? `${name} · Orchestry` : 'Orchestry';
}

function redraw() {
  setText(document.getElementById('count-apps'), known.apps.size ? fmt.number(known.apps.size) : '');
  const { cluster } = known;
  const leader = document.getElementById('leader');
  if (cluster) {
    setText(leader, cluster.leader_id ? `${cluster.leader_id} · epoch ${cluster.term}` : 'no leader');
    setClass(leader, `chip ${cluster.leader_id ? 'leader' : 'bad'}`);
  }
  if (view instanceof ClusterView) view.update();
  else if (!view) { if (needsOrder) list.arrange(); else list.paint(); }
  needsOrder = false;
}

// What comes from the node

function take(event) {
  if (event.type === 'state') {
    const { full, apps, gone, cluster } = event.data;
    if (full) known.apps.clear();
    for (const app of apps) {
      const before = known.apps.get(app.name);
      // Figures alone don't change the order, unless the list is sorted by them.
      if (!before || list.sort !== 'name' || condition(before).word !== condition(app).word) needsOrder = true;
      known.apps.set(app.name, app);
    }
    for (const name of gone) {
      known.apps.delete(name);
      known.recent.delete(name);
      needsOrder = true;
    }
    if (full) needsOrder = true;
    known.told = true;
    if (cluster) known.cluster = cluster;
    redraw();
  } else if (event.type === 'event') {
    known.events.unshift(event.data);
    known.events.length = Math.min(known.events.length, 300);
    if (view instanceof EventsView) view.happened(event.data);
    if (view instanceof Detail && event.data.app_name === view.name) view.happened(event.data);
  }
}

/** Each second: the last minute of every app, and what the open view makes of it. */
function tick() {
  for (const [name, app] of known.apps) {
    let values = known.recent.get(name);
    if (!values) known.recent.set(name, values = []);
    values.push(app.metrics?.rps ?? 0);
    if (values.length > SPARK_POINTS) values.shift();
  }
  if (document.hidden) return;
  if (!view) list.paint();
  if (view instanceof Detail || view instanceof ClusterView) view.update();
}

const connection = document.getElementById('connection');
const banner = document.getElementById('banner');
let lostTimer = null;

function told(status, reason) {
  const words = { live: 'Live', waiting: 'Reconnecting', refused: 'Not allowed' };
  setText(connection, words[status]);
  setClass(connection, `chip ${{ live: 'good', waiting: 'warn', refused: 'bad' }[status]}`);
  connection.title = reason;
  if (status === 'live') {
    clearTimeout(lostTimer);
    lostTimer = null;
    banner.hidden = true;
  } else if (status === 'refused') {
    banner.replaceChildren(reason);
    banner.hidden = false;
  } else if (!lostTimer) {
    lostTimer = setTimeout(lost, 4000);
  }
}

/** This node does not answer; the others can show the same. */
function lost() {
  const others = (known.cluster?.nodes ?? []).filter((node) => node.node_id !== known.cluster.node_id && /^https?:/.test(node.api_url));
  banner.replaceChildren('This node does not answer; what is shown may be old. ', others.length ? 'Other nodes: ' : '',
    ...others.flatMap((node) => [h('a', { href: `${node.api_url}/ui${location.hash}` }, node.node_id), ' ']));
  banner.hidden = false;
}

let stopStream = () => {};
function connect() {
  stopStream();
  stopStream = follow('/events/stream?state=true', take, told);
}

// Theme and token

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  if (theme) localStorage.setItem('orchestry-theme', theme); else localStorage.removeItem('orchestry-theme');
}
function toggleTheme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  setTheme(isDark ? 'light' : 'dark');
}

let asksToken = false;
document.addEventListener('unauthorized', () => {
  if (asksToken || document.querySelector('dialog[open]')) return;
  asksToken = true;
  dialogs.askToken(token.get() ? 'The server does not accept this token.' : 'This cluster asks for a token.', () => { asksToken = false; connect(); });
  // Closed without one: not asked again until something is tried.
  document.querySelector('dialog').addEventListener('close', () => setTimeout(() => { asksToken = false; }, 30000));
});

// Keyboard

function isTyping(target) { return target.closest?.('input, textarea, select, [contenteditable]'); }

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
  const search = document.getElementById('search');
  if (isTyping(event.target)) {
    if (event.target === search && event.key === 'Escape') {
      if (search.value) { search.value = ''; search.dispatchEvent(new Event('input')); } else search.blur();
    } else if (event.target === search && !view && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      list.move(event.key === 'ArrowDown' ? 1 : -1);
    } else if (event.target === search && !view && event.key === 'Enter') {
      list.openSelected();
    } else return;
    event.preventDefault();
    return;
  }
  const app = view instanceof Detail ? view.app : null;
  const isOnControl = event.target.closest?.('a, button');
  const keys = {
    '/': () => { if (!search) location.hash = '#/apps'; setTimeout(() => document.getElementById('search')?.focus()); },
    j: () => !view && list.move(1), k: () => !view && list.move(-1),
    ArrowDown: () => !view && event.target === list.scroller && list.move(1), ArrowUp: () => !view && event.target === list.scroller && list.move(-1),
    Enter: () => !view && !isOnControl && list.openSelected(),
    Escape: () => { if (view) location.hash = '#/apps'; else if (list.text) { list.search.value = ''; list.search.dispatchEvent(new Event('input')); } },
    1: () => { location.hash = '#/apps'; }, 2: () => { location.hash = '#/cluster'; }, 3: () => { location.hash = '#/events'; },
    s: () => app && dialogs.scale(app), l: () => app && (location.hash = `#/apps/${encodeURIComponent(app.name)}/logs`),
    t: toggleTheme, '?': dialogs.shortcuts,
  };
  const run = Object.hasOwn(keys, event.key) && keys[event.key]();
  // False and null: the key means nothing here, and what it usually does goes on.
  if (Object.hasOwn(keys, event.key) && run !== false && run !== null) event.preventDefault();
}

document.addEventListener('keydown', pressed);
window.addEventListener('hashchange', show);
document.getElementById('theme').addEventListener('click', toggleTheme);
document.getElementById('help').addEventListener('click', dialogs.shortcuts);
document.getElementById('token').addEventListener('click', () => dialogs.askToken('', connect));
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
window.addEventListener('error', (event) => toast(`The dashboard failed: ${event.message}`, 'bad'));
window.addEventListener('unhandledrejection', (event) => toast(`The dashboard failed: ${event.reason?.message ?? event.reason}`, 'bad'));

setTheme(localStorage.getItem('orchestry-theme'));
show();
connect();
setInterval(tick, 1000);
