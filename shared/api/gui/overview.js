// The first page: everything at a glance.

import { config, get } from './api.js';
import { badge, h, link, table, tile, when } from './dom.js';
import { part } from './lists.js';
import { withSync, zoneColumns } from './zone.js';

/** "3 of 4 online". */
const online = ({ online = 0, total = 0 } = {}) => [`${online} / ${total}`, total ? 'online' : 'none yet'];

function tiles({ dataplanes, meshes, policies, services, zones }) {
  const sum = (parts, member) => parts.reduce((all, one) => all + (one[member] ?? 0), 0);
  const kinds = Object.values(dataplanes);
  const degraded = sum(kinds, 'partiallyDegraded');
  const [proxies, note] = online({ online: sum(kinds, 'online') + degraded, total: sum(kinds, 'total') });
  const isGlobal = config.mode === 'global';
  return h('div', { class: 'tiles' },
    isGlobal && tile('Zones', ...online(zones.controlPlanes), 'zones'),
    tile('Proxies', proxies, degraded ? `online, ${degraded} degraded` : note, 'r/dataplanes'),
    tile('Meshes', meshes.total, '', 'meshes'),
    tile('Services', sum(Object.values(services), 'total'), `${services.external.total} external`, 'r/service-insights'),
    tile('Policies', policies.total, '', 'r'),
    isGlobal && tile('Ingresses', ...online(zones.zoneIngresses), 'r/zoneingresses'),
    isGlobal && tile('Egresses', ...online(zones.zoneEgresses), 'r/zoneegresses'));
}

export function overview({ signal }) {
  const watched = ['/mesh-insights', ...(config.mode === 'global' ? ['/zone-insights'] : [])];
  return h('div', null, h('h1', null, 'Overview'), part(signal, watched, async () => {
    const [sums, insights, zones] = await Promise.all([get('/global-insight', signal), get('/mesh-insights?size=10', signal),
      config.mode === 'global' ? get('/zones/_overview?size=10', signal) : null]);
    if (zones) await withSync(zones.items ?? [], signal);
    const more = ({ total, items }, place) => total > items.length && h('p', null, h('a', { href: place }, `All ${total}`));
    return h('div', null, tiles(sums),
      zones && [h('h2', null, 'Zones'), table(zoneColumns, zones.items ?? [], 'No zone has connected yet.'), more(zones, 'zones')],
      h('h2', null, 'Meshes'), table(meshColumns, insights.items ?? [], 'There is no mesh yet.'), more(insights, 'meshes'));
  }));
}

/** Columns of lists of MeshInsights. */
export const meshColumns = [
  ['Mesh', ({ name }) => link(['meshes', name])],
  ['Proxies', ({ dataplanes = {} }) => {
    const { total = 0, online: up = 0, partiallyDegraded: degraded = 0, offline = 0 } = dataplanes;
    return [`${up + degraded} / ${total} `, offline > 0 && badge(up + degraded ? 'degraded' : 'offline')];
  }],
  ['Services', ({ services }) => services?.total ?? 0, 'number'],
  ['Policies', ({ policies }) => Object.values(policies ?? {}).reduce((sum, { total }) => sum + total, 0), 'number'],
  ['mTLS', ({ mTLS }) => Object.keys(mTLS?.issuedBackends ?? {}).join(', ') || '–'],
  ['Changed', ({ modificationTime }) => when(modificationTime)],
];
