// The REST API of the node that this page came from: any node takes any request.

const TOKEN = 'orchestry-token';

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? '',
  set(value) {
    if (value) sessionStorage.setItem(TOKEN, value); else sessionStorage.removeItem(TOKEN);
  },
};

/** What the server said was wrong, in its own words. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

function headers(more) {
  const held = token.get();
  return held ? { ...more, Authorization: `Bearer ${held}` } : more;
}

// crypto.randomUUID is missing where the page came by plain HTTP from another host.
function key() {
  return 'ui-' + Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function ask(path, options = {}) {
  const response = await fetch(path, { cache: 'no-store', ...options, headers: headers(options.headers ?? {}) });
  const text = await response.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* A proxy in between answers in its own way. */ }
  if (response.ok && body !== null) return body;
  if (response.status === 401) document.dispatchEvent(new CustomEvent('unauthorized'));
  throw new Refusal(response.status, body?.detail ?? `${response.status} ${response.statusText}`);
}

export const get = (path, signal) => ask(path, { signal });

/** A write, repeated under its key while the answer is "not now": it is done once. */
export async function post(path, body) {
  const options = { method: 'POST', headers: { 'Idempotency-Key': key() } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask(path, options);
    } catch (error) {
      const isPassing = !(error instanceof Refusal) || error.status === 503 || error.status === 504;
      if (!isPassing || attempt === 5) throw error;
      await new Promise((resume) => setTimeout(resume, attempt * 500));
    }
  }
}

export const appPath = (name, rest = '') => `/apps/${encodeURIComponent(name)}${rest}`;

/** Server-sent events (HTML Living Standard, 9.2.6) out of a response; EventSource can't send a token. */
async function read(response, take, alive) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let event = { type: 'message', data: [], id: undefined };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    rest += value;
    let end;
    while ((end = rest.indexOf('\n')) >= 0) {
      const line = rest.slice(0, end).replace(/\r$/, '');
      rest = rest.slice(end + 1);
      if (line === '') {
        take({ type: event.type, data: event.data.join('\n'), id: event.id });
        event = { type: 'message', data: [], id: undefined };
        continue;
      }
      if (line.startsWith(':')) continue;
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const text = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event.type = text;
      else if (field === 'data') event.data.push(text);
      else if (field === 'id') event.id = text;
    }
  }
}

/**
 * Follows a stream until stopped, coming back where it was after each loss.
 * @param {string} path
 * @param {(event: {type: string, data: any, id: string|undefined}) => void} take data is parsed JSON
 * @param {(status: 'live'|'waiting'|'refused', reason: string) => void} told
 * @returns {() => void} stops it
 */
export function follow(path, take, told = () => {}) {
  const stopped = new AbortController();
  let lastID;
  (async () => {
    let pause = 500;
    while (!stopped.signal.aborted) {
      const attempt = new AbortController();
      stopped.signal.addEventListener('abort', () => attempt.abort(), { once: true });
      // The server says something each 15 s: a connection that is silent for longer is dead without knowing it.
      let watch;
      const alive = () => {
        clearTimeout(watch);
        watch = setTimeout(() => attempt.abort(), 40000);
      };
      let isRefusal = false;
      try {
        alive();
        const response = await fetch(path, {
          cache: 'no-store', signal: attempt.signal,
          headers: headers(lastID === undefined ? {} : { 'Last-Event-ID': lastID }),
        });
        if (!response.ok) {
          const problem = await response.json().catch(() => null);
          throw new Refusal(response.status, problem?.detail ?? response.statusText);
        }
        told('live', '');
        pause = 500;
        await read(response, (event) => {
          if (event.id !== undefined) lastID = event.id;
          if (event.data) take({ ...event, data: JSON.parse(event.data) });
        }, alive);
      } catch (error) {
        if (stopped.signal.aborted) break;
        isRefusal = error instanceof Refusal && error.status < 500;
        if (error.status === 401) document.dispatchEvent(new CustomEvent('unauthorized'));
        told(isRefusal ? 'refused' : 'waiting', error.message);
        if (isRefusal) pause = 5000;
        else console.info('stream:', error.message);
      } finally {
        clearTimeout(watch);
      }
      if (stopped.signal.aborted) break;
      if (!isRefusal) told('waiting', 'The connection ended.');
      await new Promise((resume) => setTimeout(resume, pause));
      pause = Math.min(pause * 2, 5000);
    }
  })();
  return () => stopped.abort();
}
