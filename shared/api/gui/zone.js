// Zones: the list, and the page of one.

import { config, get } from './api.js';
import { badge, facts, h, link, path, table, tabs, when } from './dom.js';
import { lag, synchronization } from './sync.js';
import { connections, displayName, isOnline, lastSeen, status, subscriptions } from './insight.js';
import { list, part } from './lists.js';
import { proxyColumns } from './mesh.js';

const LOOK_AGAIN = 5000; // ms; a stall is nothing happening, which no stream of changes tells

const zoneStatus = ({ zone, zoneInsight, sync }) =>
  (zone?.enabled === false ? 'disabled' : sync && !sync.connectedTo ? sync.state : isOnline(zoneInsight) ? 'online' : 'offline');
const version = ({ zoneInsight }) => subscriptions(zoneInsight)[0]?.version?.kumaCp?.version ?? '–';

/** Columns of lists of ZoneOverviews. */
export const zoneColumns = [
  ['Zone', ({ name }) => link(['zones', name])],
  ['Status', (zone) => badge(zoneStatus(zone))],
  ['Version', version],
  ['Pending', ({ sync }) => sync?.pending ?? '–', 'number'],
  ['Lag', ({ sync }) => lag(sync?.lagSeconds), 'number'],
  ['Left out', ({ sync }) => sync?.leftOut ?? '–', 'number'],
  ['Last seen', ({ zoneInsight }) => lastSeen(zoneInsight)],
];

/** Adds to ZoneOverviews how far their synchronization is. */
export async function withSync(zones, signal) {
  const { items } = await get('/_sync', signal);
  const known = new Map(items.map((sync) => [sync.name, sync]));
  for (const zone of zones) zone.sync = known.get(zone.name);
}

export const zones = ({ signal }) => h('div', null, h('h1', null, 'Zones'), list(signal, {
  path: '/zones/_overview', watched: ['/zone-insights', '/zones'], columns: zoneColumns, extend: withSync, every: LOOK_AGAIN,
  none: 'No zone has connected yet. A zone control plane registers itself when it connects to this one.',
}));

/** A list of the zone proxies of one kind. */
function zoneProxies(signal, type, name, member) {
  return list(signal, {
    path: `/${type}/_overview`, fixed: { 'filter[labels.kuma.io/zone]': name }, watched: [`/${type}`],
    filters: {}, none: 'None in this zone.', columns: [
      ['Name', (proxy) => link([type, proxy.name], displayName(proxy))],
      ['Status', (proxy) => badge(status(proxy[`${member}Insight`]))],
      ['Address', (proxy) => proxy[member]?.networking?.address],
      ['Last seen', (proxy) => lastSeen(proxy[`${member}Insight`])],
    ],
  });
}

export function zone({ signal, segments: [, name] }) {
  const own = `/${path('zones', name)}`;
  const summary = (signal) => part(signal, [`/zone-insights/${encodeURIComponent(name)}`], async () => {
    const item = await get(`${own}/_overview`, signal);
    await withSync([item], signal);
    const [newest] = subscriptions(item.zoneInsight);
    const settings = newest?.config ? JSON.parse(newest.config) : {};
    const streams = Object.entries(item.zoneInsight?.kdsStreams ?? {});
    return h('div', null,
      facts([['Status', badge(zoneStatus(item))], ['Version', version(item)], ['Last seen', lastSeen(item.zoneInsight)],
        ['Store', settings.store?.type], ['Environment', settings.environment], ['Token', newest?.authTokenProvided && 'provided'],
        ['Known since', when(item.creationTime)]]),
      h('h2', null, 'Connections'), connections(item.zoneInsight, ({ stat = {} }) => Object.entries(stat)),
      streams.length > 0 && h('details', null, h('summary', null, 'Streams'), table([['Stream', ([kind]) => kind],
        ['Since', ([, stream]) => when(stream.connectTime)], ['Global instance', ([, stream]) => stream.globalInstanceId]], streams)));
  }, LOOK_AGAIN);
  return h('div', null,
    h('h1', null, name, h('span', { class: 'actions' }, h('a', { href: `r${own}` }, config.apiReadOnly ? 'YAML' : 'YAML and edit'))),
    tabs('Zone', signal, [
      ['Status', summary],
      ['Synchronization', (signal) => synchronization(signal, name, LOOK_AGAIN)],
      ['Proxies', (signal) => list(signal, {
        path: '/dataplanes/_overview', fixed: { 'filter[labels.kuma.io/zone]': name }, watched: ['/dataplane-insights'],
        columns: [['Mesh', ({ mesh }) => link(['meshes', mesh])], ...proxyColumns.filter(([title]) => title !== 'Zone')],
        none: 'No proxy in this zone.',
      })],
      ['Ingresses', (signal) => zoneProxies(signal, 'zoneingresses', name, 'zoneIngress')],
      ['Egresses', (signal) => zoneProxies(signal, 'zoneegresses', name, 'zoneEgress')],
    ]));
}
