// Meshes: the list, and the page of one.

import { get } from './api.js';
import { badge, facts, h, link, path, table, tabs, tags, tile, when } from './dom.js';
import { displayName, lastSeen, status, zoneOf } from './insight.js';
import { list, part } from './lists.js';
import { meshColumns } from './overview.js';
import { newLink, types } from './types.js';

export const meshes = ({ signal }) => h('div', null,
  h('h1', null, 'Meshes', h('span', { class: 'actions' }, newLink(signal, 'meshes', 'r/meshes'))),
  list(signal, { path: '/mesh-insights', watched: ['/mesh-insights'], columns: meshColumns, none: 'There is no mesh yet.' }));

/** Columns of lists of DataplaneOverviews. */
export const proxyColumns = [
  ['Proxy', (proxy) => link(['meshes', proxy.mesh, 'dataplanes', proxy.name], displayName(proxy))],
  ['Status', ({ dataplane, dataplaneInsight }) => badge(status(dataplaneInsight, dataplane))],
  ['Services', ({ dataplane }) => [...new Set([
    ...(dataplane?.networking?.inbound ?? []).map((inbound) => inbound.tags?.['kuma.io/service']),
    dataplane?.networking?.gateway?.tags?.['kuma.io/service']].filter(Boolean))].join(', ') || '–'],
  ['Zone', (proxy) => zoneOf(proxy) ?? '–'],
  ['Address', ({ dataplane }) => h('code', null, dataplane?.networking?.address)],
  ['Certificate', ({ dataplaneInsight }) => when(dataplaneInsight?.mTLS?.certificateExpirationTime)],
  ['Last seen', ({ dataplaneInsight }) => lastSeen(dataplaneInsight)],
];

const serviceColumns = [
  ['Service', ({ name }) => name],
  ['Status', ({ status: state }) => (state ? badge(state.replace('partially_', '')) : '–')],
  ['Proxies', ({ dataplanes: { online = 0, total = 0 } = {} }) => `${online} / ${total}`, 'number'],
  ['Type', ({ serviceType = 'internal' }) => serviceType],
  ['Address', ({ addressPort }) => addressPort && h('code', null, addressPort)],
  ['Zones', ({ zones }) => (zones ?? []).join(', ')],
];

function backends({ mtls }) {
  const { enabledBackend: enabled } = mtls ?? {};
  return table([['Backend', ({ name }) => name], ['Type', ({ type }) => type],
    ['State', ({ name }) => (name === enabled ? badge('enabled') : '–')], ['Mode', ({ mode }) => mode ?? 'STRICT'],
    ['Certificates live', ({ dpCert }) => dpCert?.rotation?.expiration ?? '–']],
  mtls?.backends ?? [], 'No mTLS backend: traffic in this mesh is not encrypted.');
}

function summary(signal, name) {
  return part(signal, [`/${path('mesh-insights', name)}`, `/${path('meshes', name)}`], async () => {
    const [mesh, insight, all] = await Promise.all([get(`/${path('meshes', name)}`, signal),
      get(`/${path('mesh-insights', name)}`, signal).catch(() => ({})), types(signal)]);
    const { total = 0, online = 0, partiallyDegraded: degraded = 0 } = insight.dataplanes ?? {};
    const present = Object.entries(insight.resources ?? {}).map(([type, { total: number }]) => [all.get(type), number])
      .filter(([type]) => type && type.name !== 'Dataplane').sort(([a], [b]) => a.name.localeCompare(b.name));
    const versions = (map) => Object.entries(map ?? {}).map(([version, { total: number = 0 }]) => `${version} (${number})`).join(', ');
    return h('div', null,
      h('div', { class: 'tiles' },
        tile('Proxies', `${online + degraded} / ${total}`, degraded ? `online, ${degraded} degraded` : 'online'),
        tile('Services', insight.services?.total ?? 0, `${insight.services?.external ?? 0} external`),
        tile('mTLS', mesh.mtls?.enabledBackend ?? 'off', mesh.mtls?.enabledBackend ? 'enabled backend' : 'not encrypted'),
        tile('MeshServices', mesh.meshServices?.mode ?? 'Disabled', 'mode')),
      h('h2', null, 'mTLS'), backends(mesh),
      h('h2', null, 'Resources'), present.length ? h('div', { class: 'chips' }, present.map(([type, number]) =>
        h('a', { class: 'chip', href: `r/${path('meshes', name, type.path)}` }, type.name, h('b', null, number)))) : h('p', { class: 'empty' }, 'None yet.'),
      facts([['kuma-dp versions', versions(insight.dpVersions?.kumaDp)], ['Envoy versions', versions(insight.dpVersions?.envoy)]]),
      tags(mesh.labels));
  });
}

export function mesh({ signal, segments: [, name] }) {
  const own = path('meshes', name);
  return h('div', null, h('h1', null, name, h('span', { class: 'actions' }, h('a', { href: `r/${own}` }, 'YAML and history'))),
    tabs('Mesh', signal, [
      ['Summary', (signal) => summary(signal, name)],
      ['Proxies', (signal) => list(signal, { path: `/${own}/dataplanes/_overview`, filters: { name: 'Name contains', tag: 'Tag' },
        watched: [`/${own}/dataplane-insights`, `/${own}/dataplanes`], columns: proxyColumns, none: 'No proxy in this mesh yet.' })],
      ['Services', (signal) => list(signal, { path: `/${own}/service-insights`, watched: [`/mesh-insights/${encodeURIComponent(name)}`],
        columns: serviceColumns, none: 'No service in this mesh yet.' })],
    ]));
}
