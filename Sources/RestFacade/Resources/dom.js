// Elements and texts. Nothing is ever parsed as HTML: what apps and people write is text.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'text') node.textContent = value;
    else if (name === 'value') node.value = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

/** An element: h('p', {class: 'x', onclick: f}, 'text', otherElement). */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** Changes a text only where it differs: nothing is laid out for what stays. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node, name) {
  if (node.getAttribute('class') !== name) node.setAttribute('class', name);
}

const DASH = '–';
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const fmt = {
  /** 12.3, 1,234, 12k */
  number(value) {
    if (!known(value)) return DASH;
    if (value >= 100000) return Math.round(value / 1000).toLocaleString('en') + 'k';
    if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
    return value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/0$/, '');
  },
  ms(value) {
    if (!known(value)) return DASH;
    return value >= 10000 ? (value / 1000).toFixed(1) + ' s' : fmt.number(value) + ' ms';
  },
  percent(value) {
    return known(value) ? (value >= 10 ? Math.round(value) : Math.round(value * 10) / 10) + '%' : DASH;
  },
  bytes(value) {
    if (!known(value)) return DASH;
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    return fmt.number(Math.round(value * 10) / 10) + ' ' + units[unit];
  },
  clock(seconds) {
    return new Date(seconds * 1000).toLocaleTimeString('en-GB');
  },
  date(seconds) {
    const date = new Date(seconds * 1000);
    const day = date.toDateString() === new Date().toDateString()
      ? '' : date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' }) + ' ';
    return day + date.toLocaleTimeString('en-GB');
  },
  ago(seconds) {
    if (!known(seconds)) return DASH;
    const passed = Math.max(0, Date.now() / 1000 - seconds);
    if (passed < 2) return 'now';
    if (passed < 120) return Math.floor(passed) + ' s ago';
    if (passed < 7200) return Math.floor(passed / 60) + ' min ago';
    if (passed < 172800) return Math.floor(passed / 3600) + ' h ago';
    return Math.floor(passed / 86400) + ' days ago';
  },
  plural(count, word) {
    return `${fmt.number(count)} ${word}${count === 1 ? '' : 's'}`;
  },
};

/** At most one call in so many milliseconds, the last one at the end. */
export function throttled(milliseconds, call) {
  let timer = null;
  let last = 0;
  return () => {
    if (timer) return;
    timer = setTimeout(() => {
      timer = null;
      last = Date.now();
      call();
    }, Math.max(0, last + milliseconds - Date.now()));
  };
}

export function toast(text, kind = 'good') {
  const node = h('div', { class: `toast ${kind}` }, text);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), kind === 'bad' ? 9000 : 5000);
}
