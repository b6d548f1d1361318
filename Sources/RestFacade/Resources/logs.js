// What an app's instances write, as it comes.

import { h, setText, throttled, toast } from './dom.js';
import { follow, appPath } from './api.js';

const MOST_LINES = 3000;

export class LogPanel {
  constructor(name) {
    this.name = name;
    this.lines = h('div', { class: 'log', tabindex: 0, role: 'log', 'aria-label': `Output of ${name}`, 'aria-live': 'off' });
    this.status = h('span', { class: 'muted' });
    this.filter = h('input', { type: 'search', placeholder: 'Only lines with…', 'aria-label': 'Only lines with', oninput: () => this.sift() });
    this.atEnd = h('input', { type: 'checkbox', id: 'follow', checked: true, onchange: () => this.scroll() });
    this.node = h('div', { class: 'panel' },
      h('div', { class: 'section-line' }, this.filter, h('label', { class: 'check', for: 'follow' }, this.atEnd, 'Stay at the end'), this.status),
      this.lines);
  }

  start() {
    if (this.end) return;
    this.lines.replaceChildren();
    setText(this.status, 'Connecting…');
    let pending = [];
    const flush = throttled(150, () => {
      this.lines.append(...pending.map((line) => this.row(line)));
      pending = [];
      while (this.lines.children.length > MOST_LINES) this.lines.firstElementChild.remove();
      this.scroll();
    });
    this.end = follow(appPath(this.name, '/logs?follow=true&lines=100'), (event) => {
      if (event.type === 'log') {
        pending.push(event.data);
        if (pending.length > 2 * MOST_LINES) pending = pending.slice(-MOST_LINES);
        flush();
      }
      if (event.type === 'gone') toast(event.data.detail, 'bad');
    }, (status, reason) => {
      // The last lines come again.
      if (status === 'live') {
        pending = [];
        this.lines.replaceChildren();
      }
      setText(this.status, { live: 'Live', waiting: 'Connecting again…', refused: reason }[status]);
    });
  }

  stop() {
    this.end?.();
    this.end = null;
  }

  row(line) {
    const node = h('div', { class: 'log-line' },
      h('time', {}, new Date(line.timestamp * 1000).toISOString().slice(11, 23)),
      h('span', { class: 'log-from', title: `${line.instance} on ${line.node}` }, line.instance.split('-').pop()),
      h('span', { class: 'log-text' }, line.message));
    node.hidden = !this.wants(line.message);
    return node;
  }

  wants(text) { return text.toLowerCase().includes(this.filter.value.toLowerCase()); }

  sift() {
    for (const node of this.lines.children) node.hidden = !this.wants(node.querySelector('.log-text').textContent);
    this.scroll();
  }

  scroll() {
    if (this.atEnd.checked) this.lines.scrollTop = this.lines.scrollHeight;
  }
}
