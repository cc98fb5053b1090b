// Why policies have the effect on a proxy that they have, and what is wrong with a policy.

import { get } from './api.js';
import { badge, empty, h, link, path, tags } from './dom.js';
import { types } from './types.js';
import { toYaml } from './yaml.js';

const EFFECTS = { Contributes: 'contributes', Overridden: 'overridden', Nothing: 'says nothing here' };
const MOST = 50; // policies that are left out, and destinations of a rule, that are shown

const short = (value) => (typeof value === 'object' ? JSON.stringify(value) : String(value));

/** Everything that policies do to a proxy, with the reasons. */
export async function why(own, mesh, signal) {
  const [{ policies, envoy }, all] = await Promise.all([get(`${own}/_explain`, signal), types(signal)]);
  if (!policies.length) return empty('No policy says anything about this proxy.');
  return h('div', null, envoy.message && h('p', { class: 'quiet' }, envoy.message),
    policies.map((of) => kind(of, (name) => h('a', { href: `r/${path('meshes', mesh, all.get(of.kind)?.path ?? of.kind, name)}` }, name))));
}

function kind(of, policy) {
  const target = ({ targetRef: { kind, name } }) => [kind, name].filter(Boolean).join(' ');
  const selected = (one) => h('li', null, policy(one.policy.name), ' ', badge(EFFECTS[one.effect] ?? one.effect), ' ',
    h('span', { class: 'quiet' }, `${target(one.policy)}, ${one.policy.origin}`,
      one.selects[0] !== 'all' && `, at ${one.selects.join(', ')}`, one.strongerBy && ` – stronger than the one before: ${one.strongerBy}`),
    one.notes?.map((note) => h('p', { class: 'problem' }, note)));
  const left = (of.leftOut ?? []).slice(0, MOST);
  return h('details', { open: true }, h('summary', null, h('b', null, of.kind)),
    of.problems?.map((one) => h('p', { class: 'problem' }, policy(one.policy), `: ${one.message}`)),
    of.selected?.length > 0 && [h('p', null, 'Selected, weakest first:'), h('ol', null, of.selected.map(selected))],
    of.outbound?.map((rule) => outcome(`To ${some(rule.destinations.map(destination))}`, rule, rule.destinations, policy)),
    of.inbound?.map((rule) => outcome(`At inbound ${some(rule.inbounds.map(({ section }) => section))}`, rule, rule.inbounds, policy)),
    of.proxy && outcome('The proxy itself', of.proxy, [of.proxy], policy),
    of.leftOutTotal > 0 && h('details', null, h('summary', null, `Left out: ${of.leftOutTotal}`), h('ul', null,
      left.map((one) => h('li', null, policy(one.policy.name), ` – ${one.message}`)),
      of.leftOutTotal > left.length && h('li', null, `and ${of.leftOutTotal - left.length} more`))));
}

const some = (names) => [...names.slice(0, MOST), ...(names.length > MOST ? [`${names.length - MOST} more`] : [])].join(', ');

function destination({ type, name, route }) {
  const what = { Mesh: 'all other destinations', 'kuma.io/service': `service ${name}` }[type] ?? name;
  return route ? `${what} by route ${route}` : what;
}

/** A rule: its fields with their sources, and where Envoy has it. */
function outcome(title, { configurations, clients, matches }, places, policy) {
  const source = ({ policy: name, entry }) => [policy(name), ` ${entry}`];
  const field = (one) => h('tr', null, h('td', null, h('code', null, one.path.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~'))),
    h('td', null, h('code', null, short(one.value))), h('td', null, source(one)),
    h('td', null, (one.overrides ?? []).map((weaker, at) => [at > 0 && ', ', h('s', null, short(weaker.value)), ' ', source(weaker)])));
  const resources = places.slice(0, MOST).flatMap((place) => place.resources ?? []);
  const conditions = (clients ?? []).map(({ key, value, not }) => [key, not ? `not ${value}` : value]);
  return h('section', { class: 'rule' }, h('header', null, h('b', null, title)), conditions.length > 0 && tags(Object.fromEntries(conditions)),
    matches && h('pre', null, toYaml(matches)),
    configurations.map(({ conf, fields }) => [conf.hostnames && h('p', null, `For the host ${conf.hostnames.join(', ')}`),
      h('div', { class: 'scroll' }, h('table', null, h('thead', null, h('tr', null, ['Field', 'Value', 'From', 'Overrides'].map((text) => h('th', { scope: 'col' }, text)))),
        h('tbody', null, fields.map(field))))]),
    resources.length > 0 && h('p', { class: 'quiet' }, 'In Envoy: ', resources.map(({ type, name, changes }, at) =>
      [at > 0 && ', ', `${type} `, h('code', { title: (changes ?? []).join('\n') }, name)])));
}

const PROBLEMS = {
  Unreadable: 'It cannot be read',
  Disabled: 'Policies of this type are switched off',
  Unresolved: 'It refers to something that does not exist',
  LeftOut: 'It, or a part of it, cannot be turned into configuration',
};

/** What keeps a policy from having the effect that it asks for. */
export async function problemsOf(api, signal) {
  const { items } = await get(`${api}/_problems`, signal);
  if (!items.length) return empty('Nothing is wrong with it.');
  const proxy = ({ type, mesh, name }) => link(type === 'Dataplane' ? ['meshes', mesh, 'dataplanes', name]
    : [type === 'ZoneEgress' ? 'zoneegresses' : 'zoneingresses', name], name);
  return h('div', null, items.map((one) => h('section', { class: 'problem' }, h('b', null, PROBLEMS[one.type] ?? one.type),
    h('pre', null, one.message), one.proxiesTotal > 0 && h('p', null, `At ${one.proxiesTotal} proxies: `,
      (one.proxies ?? []).map((of, at) => [at > 0 && ', ', proxy(of)])))));
}
