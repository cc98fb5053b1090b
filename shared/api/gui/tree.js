// JSON as a tree that unfolds; what is folded is not made yet.

import { h } from './dom.js';

const isBranch = (value) => value !== null && typeof value === 'object' && Object.keys(value).length > 0;

/** True when a name or a value somewhere inside has the term, which is in lower case. */
export function has(value, term) {
  if (!isBranch(value)) return JSON.stringify(value)?.toLowerCase().includes(term);
  return Object.entries(value).some(([name, inner]) => (!Array.isArray(value) && name.toLowerCase().includes(term)) || has(inner, term));
}

/** A short text that tells branches apart: its name, or how much is in it. */
function preview(value) {
  if (Array.isArray(value)) return `${value.length} ${value.length === 1 ? 'entry' : 'entries'}`;
  const type = value['@type']?.split('.').pop();
  return [value.name ?? value.stat_prefix ?? value.prefix ?? value.cluster_name, type].filter(Boolean).join(' · ');
}

const marked = (text, term) => (term && text.toLowerCase().includes(term) ? h('mark', null, text) : text);

/** The members of a value; those with the term are marked, and the branches that lead to them unfolded. */
export function tree(value, term = '', unfolded = 1) {
  if (!isBranch(value)) return h('div', { class: 'leaf' }, marked(JSON.stringify(value), term));
  return h('div', { class: 'tree' }, Object.entries(value).map(([name, inner]) => {
    const label = h('b', null, Array.isArray(value) ? name : marked(name, term));
    if (!isBranch(inner)) return h('div', { class: 'leaf' }, label, ': ', marked(JSON.stringify(inner), term));
    const found = term && has(inner, term);
    return folded([label, h('span', { class: 'quiet' }, ' ', preview(inner))], () => tree(inner, term, unfolded - 1), found || unfolded > 0);
  }));
}

/** Something that unfolds; its content is made when that first happens. */
export function folded(summary, content, open = false, kind = 'branch') {
  let isMade = false;
  const fill = () => {
    if (!isMade && details.open) details.append(content());
    isMade ||= details.open;
  };
  const details = h('details', { class: kind, open, ontoggle: fill }, h('summary', null, summary));
  fill();
  return details;
}
