// Editing as YAML, checked by the server while typing.

import { write } from './api.js';
import { h, notice, problem } from './dom.js';
import { diff } from './diff.js';
import { toYaml } from './yaml.js';

const QUIET = 400; // ms without a key before the server is asked

/** What people write of a resource; the rest the control plane adds. */
export function written(resource) {
  const { creationTime, modificationTime, kri, status, ...content } = resource;
  return content;
}

export const effects = (list) => list?.length > 0 && h('p', null, 'Also: ', list.map(({ result, type, name }, index) =>
  [index > 0 && ', ', `${type} ${name} ${result}`]));

/**
 * An editor. `stored` is what there is (`resource`, `etag`) or null for something new; `pathOf` tells where a text is to be
 * stored, `saved` is called with that path.
 */
export function editor({ signal, stored, template, pathOf, saved }) {
  const before = stored ? toYaml(written(stored.resource)) : '';
  const condition = stored ? { 'if-match': stored.etag } : { 'if-none-match': '*' };
  const field = h('textarea', { class: 'code', spellcheck: 'false', rows: 24, 'aria-label': 'Resource as YAML', autocapitalize: 'off' });
  field.value = stored ? before : template;
  const verdict = h('div', { 'aria-live': 'polite' });
  const save = h('button', { type: 'button', class: 'primary', disabled: true, onclick: store }, 'Save');
  let typing;
  let latest = 0;

  async function check() {
    const turn = ++latest;
    save.disabled = true;
    try {
      const path = pathOf(field.value);
      if (!path) {
        verdict.replaceChildren(h('p', { class: 'quiet' }, 'Give the resource a name, and a mesh if its type has one.'));
        return;
      }
      const answer = await write('PUT', `${path}?dry-run=true`, { body: field.value, condition, signal });
      if (turn !== latest) return;
      const after = toYaml(written(answer.resource));
      save.disabled = answer.result === 'unchanged';
      const outcome = save.disabled ? 'Nothing would change.' : `The resource would be ${answer.result}.`;
      verdict.replaceChildren(h('p', null, h('b', { class: 'good' }, 'Valid. '), outcome),
        ...(answer.warnings ?? []).map((warning) => h('p', { class: 'warn' }, warning)),
        effects(answer.also) || '', save.disabled ? '' : diff(before, after));
    } catch (error) {
      if (turn === latest && error.name !== 'AbortError') verdict.replaceChildren(problem(error), ...hint(error));
    }
  }

  async function store() {
    if (save.disabled) return;
    save.disabled = true;
    try {
      const path = pathOf(field.value);
      await write('PUT', path, { body: field.value, condition });
      notice('Saved.');
      saved(path);
    } catch (error) {
      verdict.replaceChildren(problem(error), ...hint(error));
    }
  }

  const keys = (event) => {
    if (event.key === 's' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); store(); }
  };
  field.addEventListener('keydown', keys);
  field.addEventListener('input', () => {
    save.disabled = true;
    clearTimeout(typing);
    typing = setTimeout(check, QUIET);
  });
  check();
  return h('div', { class: 'editor' }, field, h('p', { class: 'actions' }, save, h('span', { class: 'quiet' }, 'Ctrl+S')), verdict);
}

const hint = (error) => (error.status === 412
  ? [h('p', null, 'Somebody changed it meanwhile. Copy what you wrote and reload the page to see the stored version.')] : []);
