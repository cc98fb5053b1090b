// What a resource was, and how it becomes that again.

import { get, item, write } from './api.js';
import { badge, confirm, empty, h, notice, problem, when } from './dom.js';
import { diff } from './diff.js';
import { written } from './editor.js';
import { part } from './lists.js';
import { toYaml } from './yaml.js';

/** Changes as lines: what was removed, what was added. */
function changes(list) {
  const lines = list.filter(({ op }) => op !== 'test').flatMap(({ op, path, value }) => {
    const sign = op === 'remove' ? '-' : '+';
    // Secrets are the type with such a member.
    const text = path === '/data' ? '(hidden)' : value === undefined ? '' : toYaml(value).trimEnd();
    const body = text.includes('\n') ? `\n${text.replace(/^/gm, `${sign}   `)}` : ` ${text}`;
    return h('span', { class: sign === '-' ? 'minus' : 'plus' }, `${sign} ${path.slice(1)}:${body}\n`);
  });
  return lines.length ? h('pre', { class: 'diff', tabindex: 0 }, lines) : empty('Nothing that people write changed.');
}

/** The history of the resource at `path`; `writable` tells whether it may be rolled back. */
export function history(signal, path, writable) {
  const rollback = async (revision) => {
    const target = `${path}/_rollback?to=${revision}`;
    try {
      const { now, condition } = await current(path, signal);
      const outcome = await write('PUT', `${target}&dry-run=true`, { signal });
      const content = h('div', null, outcome.result === 'unchanged' ? h('p', null, 'That is what is stored now.')
        : diff(toYaml(now), toYaml(written(outcome.resource))));
      if (!await confirm(`Roll back to revision ${revision}?`, content, 'Roll back')) return;
      await write('PUT', target, { condition });
      notice('Rolled back.');
    } catch (error) {
      await confirm('This revision cannot come back', problem(error), 'Close', '');
    }
  };
  return part(signal, [path], async () => {
    const { items } = await get(`${path}/_history`, signal);
    if (!items?.length) return empty('No changes are remembered.');
    return h('div', null, items.map(({ revision, time, author, result, changes: list }, index) => h('details', { open: index === 0 },
      h('summary', null, badge(result), ' revision ', revision, ', ', when(time), h('span', { class: 'quiet' }, ` by ${author}`)),
      changes(list),
      writable && index > 0 && result !== 'deleted'
        && h('button', { type: 'button', onclick: () => rollback(revision) }, 'Roll back to this…'))));
  });
}

/** The resource as it is, and the condition that it still is so; nothing when it was deleted. */
async function current(path, signal) {
  try {
    const { resource, etag } = await item(path, signal);
    return { now: written(resource), condition: { 'if-match': etag } };
  } catch (error) {
    if (error.status === 404) return { now: {}, condition: { 'if-none-match': '*' } };
    throw error;
  }
}
