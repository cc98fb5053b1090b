// Every type and every resource. The address of a page is that of the API: `r/meshes/default/meshtimeouts/web`.

import { get, item, write } from './api.js';
import { confirm, empty, h, link, notice, path, problem, tabs, tags, when } from './dom.js';
import { editor, effects } from './editor.js';
import { problemsOf } from './explain.js';
import { history } from './history.js';
import { displayName, zoneOf } from './insight.js';
import { list, part } from './lists.js';
import { isForeign, newLink, types } from './types.js';
import { toYaml } from './yaml.js';

const SECRET = ['Secret', 'GlobalSecret'];

const GROUPS = [
  ['Meshes and services', () => true],
  ['Policies', ({ policy }) => policy?.isTargetRef],
  ['Policies of the older generation', ({ policy }) => policy && !policy.isTargetRef],
  ['Observed', ({ name }) => name.endsWith('Insight')],
];

/** All types. */
export function catalogue({ signal }) {
  const group = (type) => GROUPS.findLastIndex(([, fits]) => fits(type));
  const place = part(signal, ['/mesh-insights'], async () => {
    const counts = ['/global-insight', '/global-insights'].map((sums) => get(sums, signal).then(({ resources }) => resources));
    const [all, ...counted] = await Promise.all([types(signal), ...counts]);
    const resources = Object.assign({}, ...counted);
    const unique = [...new Set(all.values())];
    return h('div', null, GROUPS.map(([title], index) => [h('h2', null, title), h('div', { class: 'chips' },
      unique.filter((type) => group(type) === index).map((type) => h('a', { class: 'chip', href: `r/${type.path}` }, type.name,
        resources[type.name]?.total > 0 && h('b', null, resources[type.name].total)))) ]));
  });
  return h('div', null, h('h1', null, 'Resources'), place);
}

/** Where a resource is shown. */
const place = (type, { mesh, name }) => (type.scope === 'Mesh' ? ['r', 'meshes', mesh, type.path, name] : ['r', type.path, name]);

/** A list, or an item. */
export async function resources(page) {
  const segments = page.segments.slice(1);
  const inMesh = segments[0] === 'meshes' && segments.length > 2;
  const [typePath, name] = inMesh ? segments.slice(2) : segments;
  const type = (await types(page.signal)).get(typePath);
  if (!type) return problem({ title: 'Unknown type', message: `There is no type with the path ${typePath}.` });
  const mesh = inMesh ? segments[1] : null;
  if (name !== undefined) return resource(page, type, `/${path(...segments)}`, mesh, name);
  if (new URLSearchParams(location.search).has('new')) return create(page, type, mesh);
  return resourceList(page, type, mesh);
}

function resourceList({ signal, segments }, type, mesh) {
  const columns = [
    ['Name', (one) => (type.name === 'ServiceInsight' ? one.name : h('span', null, link(place(type, one), displayName(one)),
      displayName(one) !== one.name && h('small', { class: 'quiet' }, ` ${one.name}`)))],
    ...(type.scope === 'Mesh' && !mesh ? [['Mesh', (one) => link(['meshes', one.mesh])]] : []),
    ['Zone', (one) => zoneOf(one) ?? '–'],
    ['Labels', ({ labels }) => tags(Object.fromEntries(Object.entries(labels ?? {}).filter(([key]) => !key.startsWith('kuma.io/'))))],
    ['Changed', ({ modificationTime }) => when(modificationTime)],
  ];
  const api = `/${path(...segments.slice(1))}`;
  return h('div', null, h('h1', null, type.pluralDisplayName, h('span', { class: 'actions' },
    mesh && h('span', null, 'in mesh ', link(['meshes', mesh])), newLink(signal, type.path, path(...segments)))),
  list(signal, { path: api, watched: type.name === 'ServiceInsight' ? ['/mesh-insights'] : [api], columns,
    none: `There are no ${type.pluralDisplayName} yet.`,
    filters: { name: 'Name contains', ...(type.name === 'Dataplane' && { tag: 'Tag' }) } }));
}

const named = (text, key) => text.match(new RegExp(`^${key}:[ \\t]*["']?([^\\s"'#]+)`, 'm'))?.[1];

function create({ signal, open }, type, mesh) {
  const template = [`type: ${type.name}`, type.scope === 'Mesh' && `mesh: ${mesh ?? 'default'}`, 'name: ',
    type.policy?.isTargetRef && 'spec:\n  targetRef:\n    kind: Mesh'].filter(Boolean).join('\n');
  const pathOf = (text) => {
    const segments = place(type, { mesh: named(text, 'mesh'), name: named(text, 'name') }).slice(1);
    return segments.every(Boolean) && `/${path(...segments)}`;
  };
  return h('div', null, h('h1', null, `New ${type.singularDisplayName}`),
    editor({ signal, stored: null, template: `${template}\n`, pathOf, saved: (to) => open(`r${to}`) }));
}

async function resource({ signal, open, reload }, type, api, mesh, name) {
  const stored = await item(api, signal).catch((error) => {
    // What was deleted may have a history.
    if (error.status === 404) return null;
    throw error;
  });
  const writable = type.writable && !(stored && isForeign(stored.resource));
  const shown = (signal) => part(signal, [api], async () => {
    const now = await get(api, signal);
    return h('div', null, SECRET.includes(type.name) ? secret(now) : h('pre', { class: 'code', tabindex: 0 }, toYaml(now)));
  });
  const proxies = (signal) => list(signal, { path: `${api}/_resources/dataplanes`, watched: [], none: 'It concerns no proxy.',
    columns: [['Proxy', (one) => link(['meshes', one.mesh, 'dataplanes', one.name], displayName(one))], ['Zone', (one) => zoneOf(one) ?? '–']] });
  const remove = async () => {
    try {
      const { also } = await write('DELETE', `${api}?dry-run=true`, { signal });
      const content = h('div', null, h('p', null, `${type.name} ${name} will be deleted.`), effects(also));
      if (!await confirm(`Delete ${name}?`, content, 'Delete')) return;
      await write('DELETE', api, { condition: { 'if-match': stored.etag } });
      notice('Deleted.');
      open(mesh ? `r/${path('meshes', mesh, type.path)}` : `r/${type.path}`);
    } catch (error) {
      await confirm('It cannot be deleted', problem(error), 'Close', '');
    }
  };
  const hasProxies = stored && mesh && (type.policy || type.name === 'MeshService');
  return h('div', null, h('h1', null, stored ? displayName(stored.resource) : name, h('span', { class: 'actions' },
    h('a', { href: `r/${type.path}` }, type.singularDisplayName), mesh && h('span', null, 'in mesh ', link(['meshes', mesh])),
    stored && pageOf(type, mesh, name), writable && stored && h('button', { type: 'button', class: 'danger', onclick: remove }, 'Delete…'))),
  !stored && empty('It does not exist (any more).'),
  tabs('Resource', signal, [
    ...(stored ? [['YAML', shown]] : []),
    ...(stored && writable ? [['Edit', (signal) => part(signal, [], async () =>
      editor({ signal, stored: await item(api, signal), pathOf: () => api, saved: reload })), true]] : []),
    ['History', (signal) => history(signal, api, writable)],
    ...(hasProxies ? [['Proxies', proxies]] : []),
    ...(hasProxies && type.policy?.isTargetRef ? [['Problems', (signal) => part(signal, [], () => problemsOf(api, signal))]] : []),
  ]));
}

/** The page that tells more than the YAML. */
function pageOf(type, mesh, name) {
  const pages = { Mesh: ['meshes', name], Zone: ['zones', name], Dataplane: ['meshes', mesh, 'dataplanes', name],
    ZoneIngress: ['zoneingresses', name], ZoneEgress: ['zoneegresses', name] };
  return pages[type.name] && link(pages[type.name], 'Status');
}

/** A secret, covered until somebody wants to see it. */
function secret(resource) {
  const text = h('pre', { class: 'code', tabindex: 0 }, toYaml({ ...resource, data: '(hidden)' }));
  const reveal = (event) => { text.replaceChildren(toYaml(resource)); event.target.remove(); };
  return [text, h('button', { type: 'button', onclick: reveal }, 'Show the secret')];
}
