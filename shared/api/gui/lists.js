// Parts of a page that load, and follow changes; and lists in pages.

import { follow, get } from './api.js';
import { empty, h, problem, table } from './dom.js';

const QUIET = 300; // ms in which changes are gathered

/**
 * A place whose content `load` makes, again whenever something below one of the API's paths `watched` changed; with `every`
 * also after so many ms, for what changes by nothing happening.
 */
export function part(signal, watched, load, every) {
  const place = h('div', { 'aria-busy': true }, h('p', { class: 'quiet' }, 'Loading…'));
  let gathering = false;
  place.reload = async () => {
    try {
      const content = await load(signal);
      if (!signal.aborted) replace(place, content);
    } catch (error) {
      if (!signal.aborted && error.name !== 'AbortError') place.replaceChildren(problem(error));
    }
    place.setAttribute('aria-busy', false);
  };
  const changed = async () => {
    if (gathering || signal.aborted) return;
    gathering = true;
    await new Promise((resolve) => setTimeout(resolve, QUIET));
    gathering = false;
    if (!signal.aborted) await place.reload();
  };
  follow(watched, signal, place.reload, changed).catch((error) => console.error(error));
  if (every) {
    const timer = setInterval(() => document.hidden || place.reload(), every);
    signal.addEventListener('abort', () => clearInterval(timer));
  }
  return place;
}

/** Replaces content; the focus and what was unfolded stay where they were. */
function replace(place, content) {
  const focus = place.contains(document.activeElement) && document.activeElement.getAttribute('href');
  const open = new Set([...place.querySelectorAll('details[open] > summary')].map((summary) => summary.textContent));
  place.replaceChildren(content);
  for (const summary of place.querySelectorAll('details > summary')) {
    if (open.has(summary.textContent)) summary.parentElement.open = true;
  }
  if (focus) [...place.querySelectorAll('a')].find((link) => link.getAttribute('href') === focus)?.focus();
}

/**
 * A list of the API, a page at a time, with filters as `{parameter: label}`. What is chosen stands in the address of the
 * page, so that it can be shared. `extend` adds to the items what another path knows of them.
 */
export function list(signal, { path, fixed = {}, watched, filters = { name: 'Name contains' }, columns, none, extend, every }) {
  const chosen = new URLSearchParams(location.search);
  const size = () => Number(chosen.get('size') ?? 25) || 25;
  const offset = () => Number(chosen.get('offset') ?? 0) || 0;
  const choose = (changes) => {
    for (const [key, value] of Object.entries(changes)) value ? chosen.set(key, value) : chosen.delete(key);
    const query = chosen.toString();
    history.replaceState(null, '', `${location.pathname}${query && `?${query}`}${location.hash}`);
    rows.reload();
  };
  let typing;
  const type = (key) => (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ [key]: event.target.value.trim(), offset: '' }), 250);
  };
  const inputs = Object.entries(filters).map(([key, label]) => h('label', null, label,
    h('input', { type: 'search', value: chosen.get(key) ?? '', oninput: type(key), placeholder: key === 'tag' ? 'key:value' : null })));
  const sizes = h('select', { onchange: (event) => choose({ size: event.target.value, offset: '' }) },
    [25, 100, 500].map((count) => h('option', { value: count, selected: count === size() }, count)));
  const rows = part(signal, watched, async () => {
    const query = new URLSearchParams({ ...fixed, size: size(), offset: offset() });
    for (const key of Object.keys(filters)) if (chosen.get(key)) query.append(key, chosen.get(key));
    const { items, total } = await get(`${path}?${query}`, signal);
    if (extend) await extend(items ?? [], signal);
    const turn = (label, to, possible) =>
      h('button', { type: 'button', disabled: !possible, onclick: () => choose({ offset: to || '' }) }, label);
    const isFiltered = Object.keys(filters).some((key) => chosen.get(key));
    return h('div', null, total ? table(columns, items ?? []) : empty(isFiltered ? 'Nothing fits the filter.' : none ?? 'Nothing here.'),
      total > 0 && h('div', { class: 'pager' },
        h('span', null, `${Math.min(offset() + 1, total)}–${Math.min(offset() + size(), total)} of ${total}`),
        (offset() > 0 || total > size()) && [
          turn('Previous', Math.max(0, offset() - size()), offset() > 0),
          turn('Next', offset() + size(), offset() + size() < total)]));
  }, every);
  return h('div', null, h('div', { class: 'filters' }, inputs, h('label', null, 'Rows', sizes)), rows);
}
