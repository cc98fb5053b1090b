// Building what is on the page. All data becomes text nodes and attributes, never markup.

/** An element; properties that begin with "on" are listeners, children may be nodes, texts, lists, or nothing. */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? '' : value);
  }
  const present = children.flat(Infinity).filter((child) => child != null && child !== false && child !== '');
  element.append(...present.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** A path from its segments, for links in the page and, with a slash before it, for the API. */
export const path = (...segments) => segments.map(encodeURIComponent).join('/');

export const link = (segments, text) => h('a', { href: path(...segments) }, text ?? segments.at(-1));

const UNITS = [['year', 31536000], ['month', 2592000], ['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  const [unit, length] = UNITS.find(([, length]) => Math.abs(seconds) >= length) ?? UNITS.at(-1);
  return relative.format(Math.trunc(seconds / length), unit);
}

/** A point in time, told from now; the exact one is its tooltip. */
export function when(time) {
  if (!time) return h('span', { class: 'quiet' }, '–');
  return h('time', { datetime: time, title: new Date(time).toLocaleString() }, ago(time));
}

setInterval(() => {
  for (const time of document.querySelectorAll('time')) time.textContent = ago(time.dateTime);
}, 10000);

const TONES = { 'in sync': 'good', online: 'good', enabled: 'good', ready: 'good', created: 'good', stalled: 'bad', offline: 'bad',
  deleted: 'bad', 'catching up': 'warn',
  healthy: 'good', unhealthy: 'bad', refused: 'bad', 'failed health check': 'bad', ejected: 'bad', warming: 'warn', draining: 'warn',
  timeout: 'bad', going: 'warn', 'not checked yet': 'warn', excluded: 'bad', static: '',
  'not ready': 'bad', expired: 'bad', degraded: 'warn', updated: 'warn', disabled: 'warn' };

export const badge = (text) => h('span', { class: `badge ${TONES[text] ?? ''}` }, text);

export const tags = (map) => h('span', { class: 'tags' },
  Object.entries(map ?? {}).map(([key, value]) => h('span', { class: 'tag' }, h('b', null, `${key}: `), value)));

export const empty = (text) => h('p', { class: 'empty' }, text);

/** A table; columns are [title, (row) => content, class]. */
export function table(columns, rows, none = 'Nothing here.') {
  if (!rows.length) return empty(none);
  const cell = (row) => ([title, show, kind]) => h('td', { class: kind, 'data-title': title }, show(row));
  return h('div', { class: 'scroll' }, h('table', null,
    h('thead', null, h('tr', null, columns.map(([title, , kind]) => h('th', { scope: 'col', class: kind }, title)))),
    h('tbody', null, rows.map((row) => h('tr', null, columns.map(cell(row)))))));
}

/** Names and values; those without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value != null && value !== '');
  return h('dl', null, shown.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));
}

export const tile = (label, value, note, href) =>
  h(href ? 'a' : 'div', { class: 'tile', href }, h('span', null, label), h('strong', null, value), h('small', null, note));

/** What went wrong, with the fields at fault. */
export function problem(error) {
  const fields = (error.fields ?? []).map(({ field, reason }) => h('li', null, h('code', null, field || '(body)'), ' ', reason));
  return h('div', { class: 'problem', role: 'alert' }, h('strong', null, error.title ?? 'Something went wrong'),
    h('p', null, error.message), fields.length > 0 && h('ul', null, fields));
}

/**
 * Tabs; each is [name, (signal) => content, keep]. Content is made when its tab is chosen, and ends (its signal) when another
 * one is, so that only what is seen holds connections; `keep` is for what people write. The choice is kept in the fragment.
 */
export function tabs(label, signal, entries) {
  const panel = h('div', { role: 'tabpanel', tabindex: 0 });
  const kept = new Map();
  let own = new AbortController();
  signal.addEventListener('abort', () => own.abort());
  const buttons = entries.map(([name], index) => h('button', {
    role: 'tab', type: 'button', onclick: () => choose(index), onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) buttons[(index + step + buttons.length) % buttons.length].focus();
    },
  }, name));
  function choose(index, isFirst = false) {
    const [name, make, keep] = entries[index];
    own.abort();
    own = new AbortController();
    // The query belongs to the list of the tab that was left.
    if (!isFirst) history.replaceState(null, '', `${location.pathname}#${encodeURIComponent(name)}`);
    buttons.forEach((button, at) => button.setAttribute('aria-selected', at === index));
    panel.setAttribute('aria-label', name);
    const content = kept.get(name) ?? make(keep ? signal : own.signal);
    if (keep) kept.set(name, content);
    panel.replaceChildren(content);
  }
  const wanted = decodeURIComponent(location.hash.slice(1));
  choose(Math.max(0, entries.findIndex(([name]) => name === wanted)), true);
  return h('div', { class: 'tabs' }, h('div', { role: 'tablist', 'aria-label': label }, buttons), panel);
}

/** Asks before something that cannot be taken back lightly; resolves to whether it may be done. */
export function confirm(title, content, action, tone = 'danger') {
  return new Promise((resolve) => {
    const close = (result) => () => { dialog.close(); dialog.remove(); resolve(result); };
    const dialog = h('dialog', { 'aria-label': title, oncancel: close(false) }, h('h2', null, title), content,
      h('p', { class: 'actions' }, h('button', { type: 'button', class: tone, onclick: close(true) }, action),
        h('button', { type: 'button', autofocus: true, onclick: close(false) }, 'Cancel')));
    document.body.append(dialog);
    dialog.showModal();
  });
}

let fading;
/** A short message at the edge of the page. */
export function notice(text) {
  const place = document.getElementById('notice');
  place.replaceChildren(text);
  clearTimeout(fading);
  fading = setTimeout(() => place.replaceChildren(), 5000);
}
