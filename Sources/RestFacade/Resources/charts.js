// Charts drawn by hand as SVG, at the size they are shown in.

import { h, s, setText, fmt } from './dom.js';

const PAD = { left: 50, right: 12, top: 10, bottom: 22 };

/** The next of 1, 2, 2.5, 5, 10… above a value. */
function ceiling(value, whole) {
  if (!(value > 0)) return 1;
  const scale = 10 ** Math.floor(Math.log10(value));
  for (const step of whole ? [1, 2, 4, 5, 8, 10] : [1, 1.5, 2, 2.5, 4, 5, 8, 10]) {
    const candidate = step * scale;
    if (candidate >= value * 1.02 && (!whole || Number.isInteger(candidate))) return candidate;
  }
  return 10 * scale;
}

function ticks(from, to) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];
  const step = steps.find((candidate) => (to - from) / candidate <= 6) ?? 43200;
  const found = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) found.push(t);
  return found;
}

/** A small line without axes: the last minute of a row in a list. */
export function sparkline() {
  const line = s('path', { class: 'spark-line' });
  const area = s('path', { class: 'spark-area' });
  const node = s('svg', { class: 'spark', viewBox: '0 0 80 24', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, line);
  let last = '';
  return {
    node,
    draw(values) {
      const top = Math.max(1, ...values);
      const step = 80 / Math.max(1, values.length - 1);
      const points = values.map((value, index) => `${(index * step).toFixed(1)},${(22.5 - (value / top) * 20).toFixed(1)}`);
      const path = points.length > 1 ? 'M' + points.join('L') : '';
      if (path === last) return;
      last = path;
      line.setAttribute('d', path);
      area.setAttribute('d', path ? `${path}L80,24L0,24Z` : '');
    },
  };
}

/**
 * One figure over time.
 * @param {{title: string, unit: (value: number) => string, stepped?: boolean, ceiling?: number, kind?: string}} options
 */
export function chart(options) {
  const now = h('span', { class: 'chart-now' });
  const plot = s('svg', { class: 'plot', role: 'img' });
  const tip = h('div', { class: 'tip', hidden: true });
  const node = h('figure', { class: `chart ${options.kind ?? ''}` },
    h('figcaption', {}, h('span', { class: 'chart-title' }, options.title), now),
    h('div', { class: 'plot-box' }, plot, tip));
  let data = { points: [], marks: [], from: 0, to: 1, target: null };
  let geometry = null;
  const cursor = s('line', { class: 'cursor' });
  const dot = s('circle', { class: 'cursor-dot', r: 3.5 });

  function show(at, lines, marked) {
    tip.replaceChildren(...lines.map((line, index) => h('div', { class: index ? 'tip-more' : 'tip-head' }, line)));
    tip.hidden = false;
    const width = plot.clientWidth;
    const wide = Math.min(tip.offsetWidth, width);
    tip.style.left = `${Math.max(0, Math.min(at - wide / 2, width - wide))}px`;
    tip.classList.toggle('marked', Boolean(marked));
  }

  function hide() {
    tip.hidden = true;
    cursor.setAttribute('visibility', 'hidden');
    dot.setAttribute('visibility', 'hidden');
  }

  function describe(mark) {
    return [`${fmt.date(mark.t)}: ${mark.from} → ${mark.to} replicas`, mark.text];
  }

  function hover(event) {
    if (!geometry || !data.points.length) return;
    const box = plot.getBoundingClientRect();
    const x = event.clientX - box.left;
    const mark = data.marks.find((candidate) => Math.abs(geometry.x(candidate.t) - x) < 8);
    if (mark) return show(geometry.x(mark.t), describe(mark), true);
    const t = geometry.t(x);
    let best = null;
    for (const point of data.points) {
      if (point.v !== null && (!best || Math.abs(point.t - t) < Math.abs(best.t - t))) best = point;
    }
    if (!best || Math.abs(geometry.x(best.t) - x) > 40) return hide();
    cursor.setAttribute('x1', geometry.x(best.t));
    cursor.setAttribute('x2', geometry.x(best.t));
    cursor.setAttribute('y1', PAD.top);
    cursor.setAttribute('y2', geometry.bottom);
    dot.setAttribute('cx', geometry.x(best.t));
    dot.setAttribute('cy', geometry.y(best.v));
    cursor.removeAttribute('visibility');
    dot.removeAttribute('visibility');
    show(geometry.x(best.t), [options.unit(best.v), fmt.date(best.t)]);
  }
  plot.addEventListener('pointermove', hover);
  plot.addEventListener('pointerleave', hide);
  // On a phone a touch stays until the next one.
  plot.addEventListener('pointerdown', hover);

  function path() {
    let text = '';
    let area = '';
    let run = null;
    const close = () => {
      if (run) area += `${run.path}L${run.x.toFixed(1)},${geometry.bottom}L${run.first.toFixed(1)},${geometry.bottom}Z`;
      run = null;
    };
    let previous = null;
    for (const point of data.points) {
      // Nothing was measured for longer than a few points: that is no line.
      if (point.v === null || (previous && point.t - previous.t > Math.max(35, (data.to - data.from) / 40))) close();
      previous = point;
      if (point.v === null) continue;
      const [x, y] = [geometry.x(point.t), geometry.y(point.v)];
      if (!run) run = { path: `M${x.toFixed(1)},${y.toFixed(1)}`, first: x, x };
      else run.path += (options.stepped ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `L${x.toFixed(1)},${y.toFixed(1)}`);
      run.x = x;
      run.full = run.path;
      if (point === data.points[data.points.length - 1] || nextBreaks(point)) { text += run.path; close(); }
    }
    return { text, area };
  }
  function nextBreaks(point) {
    const next = data.points[data.points.indexOf(point) + 1];
    return !next || next.v === null || next.t - point.t > Math.max(35, (data.to - data.from) / 40);
  }

  function draw() {
    const width = plot.clientWidth;
    const height = plot.clientHeight;
    if (!width || !height) return;
    const bottom = height - PAD.bottom;
    const values = data.points.map((point) => point.v).filter((value) => value !== null);
    const marked = data.marks.flatMap((mark) => [mark.from, mark.to]);
    const highest = Math.max(0, ...values, ...(options.stepped ? marked : []), data.target ?? 0);
    const top = Math.max(options.ceiling && highest <= options.ceiling ? Math.min(options.ceiling, ceiling(highest)) : 0, ceiling(highest, options.stepped));
    const span = Math.max(1, data.to - data.from);
    geometry = {
      bottom,
      x: (t) => PAD.left + ((t - data.from) / span) * (width - PAD.left - PAD.right),
      t: (x) => data.from + ((x - PAD.left) / (width - PAD.left - PAD.right)) * span,
      y: (v) => bottom - (v / top) * (bottom - PAD.top),
    };
    const parts = [];
    const shares = options.stepped && top <= 3 ? Array.from({ length: top + 1 }, (_, index) => index / top) : [0, 0.5, 1];
    for (const share of shares) {
      const y = geometry.y(top * share);
      parts.push(s('line', { class: 'grid', x1: PAD.left, x2: width - PAD.right, y1: y, y2: y }));
      const label = top * share;
      if (!options.stepped || Number.isInteger(label)) {
        parts.push(s('text', { class: 'axis', x: PAD.left - 6, y: y + 4, 'text-anchor': 'end' }, options.axis ? options.axis(label) : fmt.number(label)));
      }
    }
    for (const t of ticks(data.from, data.to)) {
      const x = geometry.x(t);
      if (x < PAD.left + 14 || x > width - 22) continue;
      parts.push(s('text', { class: 'axis', x, y: height - 5, 'text-anchor': 'middle' }, fmt.clock(t).slice(0, 5)));
    }
    if (data.target !== null && data.target <= top) {
      const y = geometry.y(data.target);
      parts.push(s('line', { class: 'target', x1: PAD.left, x2: width - PAD.right, y1: y, y2: y }));
    }
    const drawn = path();
    parts.push(s('path', { class: 'area', d: drawn.area }), s('path', { class: 'line-path', d: drawn.text }));
    for (const mark of data.marks) {
      if (mark.t < data.from || mark.t > data.to) continue;
      const point = s('circle', {
        class: `decision ${mark.to > mark.from ? 'up' : 'down'}`, cx: geometry.x(mark.t), cy: geometry.y(mark.to), r: 5,
        tabindex: 0, role: 'img', 'aria-label': describe(mark).join('. '),
      });
      point.addEventListener('focus', () => show(geometry.x(mark.t), describe(mark), true));
      point.addEventListener('blur', hide);
      parts.push(point);
    }
    if (!values.length) {
      parts.push(s('text', { class: 'nothing', x: (PAD.left + width - PAD.right) / 2, y: bottom / 2 + 8, 'text-anchor': 'middle' }, 'Nothing measured yet'));
    }
    const focused = document.activeElement?.closest?.('svg') === plot ? document.activeElement.getAttribute('aria-label') : null;
    cursor.setAttribute('visibility', 'hidden');
    dot.setAttribute('visibility', 'hidden');
    plot.replaceChildren(...parts, cursor, dot);
    if (focused) [...plot.querySelectorAll('.decision')].find((node) => node.getAttribute('aria-label') === focused)?.focus();
    const last = values.length ? values[values.length - 1] : null;
    const shown = last === null ? fmt.number(null) : options.unit(last);
    setText(now, shown);
    plot.setAttribute('aria-label', `${options.title}: now ${shown}, highest ${options.unit(Math.max(0, ...values))}`);
  }

  const sized = new ResizeObserver(draw);
  sized.observe(plot);
  return {
    node,
    set(next) {
      data = { ...data, ...next };
      // While somebody reads a point, it stays under the pointer.
      if (!tip.hidden && !tip.classList.contains('marked')) return;
      if (tip.hidden) draw();
    },
    stop() { sized.disconnect(); },
  };
}
