// The HTTP API: requests, refusals, and streams of changes.

export const config = JSON.parse(document.getElementById('kuma-config').textContent);
const ROOT = config.apiUrl.replace(/\/+$/, '');
const TOKEN = 'tandem-user-token';

/** The user token; it lives as long as the browser's tab and is sent to this API only. */
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => (text ? sessionStorage.setItem(TOKEN, text) : sessionStorage.removeItem(TOKEN)),
};

/** A refusal by the API, or an API that cannot be reached (status 0). */
export class Refusal extends Error {
  constructor(status, title, detail, fields) {
    super(detail);
    Object.assign(this, { status, title, fields });
  }
}

async function send(path, { headers, ...options } = {}) {
  const credentials = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  let response;
  try {
    response = await fetch(ROOT + path, { ...options, cache: 'no-store', headers: { ...credentials, ...headers } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Refusal(0, 'No connection', 'The control plane does not answer. Is it running?', []);
  }
  if (response.ok) return response;
  const text = await response.text();
  let body = {};
  try { body = JSON.parse(text); } catch { body = { detail: text }; }
  const refusal = new Refusal(response.status, body.title ?? `Status ${response.status}`,
    body.detail || response.statusText, body.invalid_parameters ?? []);
  if (response.status === 401) dispatchEvent(new Event('unauthenticated'));
  throw refusal;
}

export const get = async (path, signal) => (await send(path, { signal })).json();

/** A resource with its entity tag. */
export async function item(path, signal) {
  const response = await send(path, { signal });
  return { resource: await response.json(), etag: response.headers.get('etag') };
}

/** A write. `body` is YAML; `condition` holds If-Match or If-None-Match. */
export async function write(method, path, { body, condition, signal } = {}) {
  const type = body === undefined ? {} : { 'content-type': 'application/yaml' };
  const response = await send(path, { method, body, signal, headers: { ...type, ...condition } });
  return response.json();
}

/** Server-sent events of a path after the one with the id `last`. (EventSource could send neither token nor id.) */
async function* events(path, last, signal) {
  const headers = { accept: 'text/event-stream', ...(last ? { 'last-event-id': last } : {}) };
  const response = await send(`${path}?watch=true`, { signal, headers });
  let rest = '';
  for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()).getReader())) {
    const blocks = (rest + piece).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.match(new RegExp(`^${name}: ?(.*)$`, 'm'))?.[1];
      if (field('event')) yield { name: field('event'), id: field('id') };
    }
  }
}

async function* pieces(reader) {
  for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) yield value;
}

/** The revision of the store now: a watch of a mesh that cannot exist is in sync at once. */
async function revision(signal) {
  const own = new AbortController();
  const stop = () => own.abort();
  if (signal.aborted) return null;
  signal.addEventListener('abort', stop);
  try {
    for await (const { name, id } of events('/meshes/-', null, own.signal)) if (name === 'synced') return id;
  } finally {
    stop();
    signal.removeEventListener('abort', stop);
  }
}

const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** Waits until the page is looked at: hidden pages hold no connections, of which browsers allow few. */
async function visible() {
  while (document.hidden) await new Promise((done) => document.addEventListener('visibilitychange', done, { once: true }));
}

/** Calls `changed` whenever something below one of `paths` changed, until `signal`; calls `ready` before it begins. */
export async function follow(paths, signal, ready, changed) {
  const start = await revision(signal).catch(() => null);
  await ready();
  if (start === null) return;
  await Promise.all(paths.map((path) => followOne(path, start, signal, changed)));
}

async function followOne(path, last, signal, changed) {
  for (let wait = 1000; !signal.aborted; wait = Math.min(wait * 2, 30000)) {
    await visible();
    if (signal.aborted) return;
    const own = new AbortController();
    const stop = () => own.abort();
    const hide = () => document.hidden && stop();
    signal.addEventListener('abort', stop);
    document.addEventListener('visibilitychange', hide);
    try {
      for await (const event of events(path, last, own.signal)) {
        last = event.id ?? last;
        wait = 1000;
        changed();
      }
    } catch (error) {
      if (error.status >= 400 && error.status < 500) return;
    } finally {
      signal.removeEventListener('abort', stop);
      document.removeEventListener('visibilitychange', hide);
    }
    if (!signal.aborted && !document.hidden) await pause(wait);
  }
}
