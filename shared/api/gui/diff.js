// Differences between two texts, line by line.

import { empty, h } from './dom.js';

const CONTEXT = 3;
const LARGEST = 4e6; // cells of the table of common lines

/** Lines as [sign, text]. */
function compare(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  const limit = Math.min(before.length, after.length) - start;
  while (end < limit && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const same = (lines) => lines.map((line) => [' ', line]);
  const old = before.slice(start, before.length - end);
  const young = after.slice(start, after.length - end);
  return [...same(before.slice(0, start)), ...middle(old, young), ...same(before.slice(before.length - end))];
}

function middle(old, young) {
  const all = () => [...old.map((line) => ['-', line]), ...young.map((line) => ['+', line])];
  if (!old.length || !young.length || old.length * young.length > LARGEST) return all();
  // Longest common part of what follows each pair of places.
  const common = Array.from({ length: old.length + 1 }, () => new Uint16Array(young.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = young.length - 1; j >= 0; j -= 1) {
      common[i][j] = old[i] === young[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const result = [];
  let [i, j] = [0, 0];
  while (i < old.length || j < young.length) {
    if (i < old.length && j < young.length && old[i] === young[j]) { result.push([' ', old[i]]); i += 1; j += 1; }
    else if (j >= young.length || (i < old.length && common[i + 1][j] >= common[i][j + 1])) result.push(['-', old[i++]]);
    else result.push(['+', young[j++]]);
  }
  return result;
}

const CLASSES = { '+': 'plus', '-': 'minus', ' ': null };

/** What turns one text into the other, with some lines around it. */
export function diff(before, after) {
  const lines = compare(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
  const changed = lines.flatMap(([sign], index) => (sign === ' ' ? [] : [index]));
  if (!changed.length) return empty('No difference.');
  const shown = new Set(changed.flatMap((at) => Array.from({ length: 2 * CONTEXT + 1 }, (_, step) => at - CONTEXT + step)));
  const out = [];
  lines.forEach(([sign, line], index) => {
    if (shown.has(index)) out.push(h('span', { class: CLASSES[sign] }, `${sign} ${line}\n`));
    else if (shown.has(index - 1)) out.push(h('span', { class: 'quiet' }, '⋯\n'));
  });
  return h('pre', { class: 'diff', tabindex: 0 }, out);
}
