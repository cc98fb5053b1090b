// The page of a proxy: of a Dataplane, a ZoneIngress or a ZoneEgress.

import { get } from './api.js';
import { badge, empty, facts, h, link, path, table, tabs, tags, when } from './dom.js';
import { envoyTabs } from './envoy.js';
import { why } from './explain.js';
import { connections, displayName, lastSeen, readiness, status, subscriptions, zoneOf } from './insight.js';
import { part } from './lists.js';
import { types } from './types.js';
import { toYaml } from './yaml.js';

const KINDS = {
  dataplanes: ['dataplane', 'dataplane-insights'],
  zoneingresses: ['zoneIngress', 'zone-ingress-insights'],
  zoneegresses: ['zoneEgress', 'zoneegressinsights'],
};
const XDS = { cds: 'Clusters (CDS)', eds: 'Endpoints (EDS)', lds: 'Listeners (LDS)', rds: 'Routes (RDS)' };

export function proxy({ signal, segments }) {
  const own = `/${path(...segments)}`;
  const [type, name] = segments.slice(-2);
  const mesh = segments.length > 2 ? segments[1] : null;
  const [member, insights] = KINDS[type];
  const title = h('span', null, name);
  get(own, signal).then((item) => title.replaceChildren(displayName(item)), () => {});
  const watched = [path(...segments.slice(0, -2), insights, name), path(...segments)].map((place) => `/${place}`);
  const summary = (signal) => part(signal, watched, async () => {
    const item = await get(`${own}/_overview`, signal);
    return h('div', null, overview(item, item[member] ?? {}, item[`${member}Insight`] ?? {}));
  });
  return h('div', null, h('h1', null, title, h('span', { class: 'actions' },
    mesh && h('span', null, 'in mesh ', link(['meshes', mesh])), h('a', { href: `r${own}` }, 'YAML and history'))),
  tabs('Proxy', signal, [
    ['Status', summary],
    ...(mesh ? [['Policies', (signal) => part(signal, [], () => policies(own, signal))],
      ['Why', (signal) => part(signal, [], () => why(own, mesh, signal))]] : []),
    ...envoyTabs(own),
  ]));
}

function certificate({ mTLS }) {
  const { certificateExpirationTime: end, issuedBackend, certificateRegenerations: number, lastCertificateRegeneration: last } = mTLS ?? {};
  if (!end) return [];
  const label = new Date(end) < Date.now() ? [badge('expired'), ' ', when(end)] : when(end);
  return [['Certificate expires', label], ['Issued by', issuedBackend], ['Issued', [when(last), number > 1 && ` (${number} times)`]]];
}

function overview(item, { networking = {} }, insight) {
  const { version = {} } = subscriptions(insight)[0] ?? {};
  const { inbound = [], outbound = [], gateway, address, advertisedAddress, advertisedPort, port } = networking;
  const service = ({ tags: of = {} }) => of['kuma.io/service'];
  const target = (one) => (one.backendRef ? `${one.backendRef.kind} ${one.backendRef.name ?? ''}:${one.backendRef.port ?? ''}` : service(one) ?? one.service);
  return [
    problems(insight.problems),
    facts([['Status', badge(status(insight, { networking }))], ['Last seen', lastSeen(insight)], ['Zone', zoneOf(item)],
      ['Address', address && h('code', null, port ? `${address}:${port}` : address)],
      ['Advertised', advertisedAddress && h('code', null, `${advertisedAddress}:${advertisedPort}`)],
      ['kuma-dp', version.kumaDp?.version], ['Envoy', version.envoy?.version], ...certificate(insight),
      ['Gateway', gateway && `${gateway.type ?? 'DELEGATED'} ${service(gateway) ?? ''}`], ['Resource', h('code', null, item.name)]]),
    tags(item.labels),
    item.type === 'DataplaneOverview' && [h('h2', null, 'Inbounds'), table([
      ['Port', (one) => [one.port, one.servicePort && one.servicePort !== one.port ? ` → ${one.servicePort}` : ''].join('')],
      ['Service', (one) => service(one) ?? one.name], ['State', readiness],
      ['Tags', (one) => tags(Object.fromEntries(Object.entries(one.tags ?? {}).filter(([key]) => key !== 'kuma.io/service')))],
    ], inbound, 'No inbounds.')],
    outbound.length > 0 && [h('h2', null, 'Outbounds'), table([
      ['Address', (one) => h('code', null, `${one.address ?? '127.0.0.1'}:${one.port}`)], ['To', target]], outbound)],
    h('h2', null, 'Connections'),
    connections(insight, (of) => Object.entries(XDS).map(([key, label]) => [label, of[key]])),
  ];
}

const PROBLEMS = {
  Rejected: 'Envoy refused a part of its configuration and keeps the earlier one',
  LeftOut: 'Left out of the configuration; everything else is served',
  NotPermitted: 'The constraints of the mesh no longer permit this proxy; it is served until it connects again',
  NotConfigured: 'There is no new configuration; the proxy keeps the earlier one',
};

/** What keeps the proxy from serving all that its resources say. */
function problems(all = []) {
  if (!all.length) return null;
  return h('section', { class: 'problem', role: 'alert' }, h('h2', null, 'Problems'), all.map((one) => h('div', null,
    h('p', null, h('b', null, PROBLEMS[one.type] ?? one.type), one.time && [', noticed ', when(one.time)],
      one.resourceType && [': ', h('code', null, one.resourceType.split('.').pop())],
      one.subject && [': ', one.subject.type, ' ', h('code', null, one.subject.name)]),
    one.resources?.length > 0 && h('p', null, one.resources.map((name) => [h('code', null, name), ' '])),
    h('pre', null, one.message))));
}

/** Policies as they amount to for the proxy. */
async function policies(own, signal) {
  const [{ rules }, all] = await Promise.all([get(`${own}/_rules`, signal), types(signal)]);
  if (!rules.length) return empty('No policy concerns this proxy.');
  const origin = (one) => {
    const { type, mesh, name, labels } = one.resourceMeta ?? one;
    return h('a', { href: `r/${path('meshes', mesh, all.get(type)?.path ?? type, name)}` }, labels?.['kuma.io/display-name'] ?? name);
  };
  const conf = (value) => h('pre', null, toYaml(Array.isArray(value) && value.length === 1 ? value[0] : value));
  const rule = (where) => (one) => h('section', { class: 'rule' },
    h('header', null, h('b', null, where(one)), h('span', null, 'from ', (one.origin ?? []).map((from, at) => [at > 0 && ', ', origin(from)]))),
    one.matchers?.length > 0 && tags(Object.fromEntries(one.matchers.map(({ key, value, not }) => [key, not ? `not ${value}` : value]))),
    conf(one.conf));
  const inbound = ({ inbound: { name, port } }) => `Inbound ${name ?? port}`;
  return h('div', null, rules.map((of) => {
    // `fromRules` says the same in the older form.
    const perInbound = of.inboundRules.length ? of.inboundRules : of.fromRules;
    return h('details', { open: true }, h('summary', null, h('b', null, of.type)),
      of.warnings.map((warning) => h('p', { class: 'problem' }, warning)),
      of.proxyRule && rule(() => 'The proxy')(of.proxyRule),
      perInbound.map((list) => list.rules.map(rule(() => inbound(list)))),
      of.toRules.map(rule(() => 'Outbounds')),
      of.toResourceRules.map(rule(({ resourceMeta, resourceSectionName }) =>
        `To ${resourceMeta.type} ${resourceMeta.labels?.['kuma.io/display-name'] ?? resourceMeta.name} ${resourceSectionName}`)));
  }));
}
