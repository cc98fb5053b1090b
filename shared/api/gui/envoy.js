// What the Envoy of a proxy says of itself, asked when somebody looks: its configuration, its statistics, its clusters.

import { get } from './api.js';
import { badge, empty, h, problem, table, when } from './dom.js';
import { folded, has, tree } from './tree.js';

const MOST = 300; // resources shown at once
const ROWS = 1000; // rows of a table shown at once

/** The tabs: each is [name, (signal) => content]. */
export const envoyTabs = (own) => [
  ['Envoy configuration', (signal) => asked(signal, () => get(`${own}/xds?include_eds=true`, signal), configuration)],
  ['Statistics', (signal) => statistics(own, signal)],
  ['Clusters', (signal) => asked(signal, () => get(`${own}/clusters?format=json`, signal), clusters)],
];

/** Asks, and shows the answer, or why there is none, with a way to ask again. */
function asked(signal, ask, show, ...more) {
  const place = h('div', null);
  const load = async () => {
    place.replaceChildren(h('p', { class: 'quiet', role: 'status' }, 'Asking Envoy…'));
    try {
      const answer = await ask();
      const copy = () => navigator.clipboard?.writeText(JSON.stringify(answer, null, 2));
      const [filters, result] = show(answer);
      place.replaceChildren(h('div', { class: 'filters' }, filters, more, h('button', { type: 'button', onclick: load }, 'Ask again'),
        h('button', { type: 'button', onclick: copy }, 'Copy')), result);
    } catch (error) {
      if (!signal.aborted) place.replaceChildren(problem(error), h('button', { type: 'button', onclick: load }, 'Ask again'));
    }
  };
  place.load = load;
  load();
  return place;
}

/** A field for a search; `changed` is called with the term in lower case, a moment after the last letter. */
function search(label, changed) {
  let due;
  const later = ({ target }) => {
    clearTimeout(due);
    due = setTimeout(() => changed(target.value.trim().toLowerCase()), 150);
  };
  return h('label', null, label, h('input', { type: 'search', oninput: later }));
}

const count = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

// Of each section of a dump: its name, the member with the resource, and the lists with the state of what is in them.
const SECTIONS = {
  ListenersConfigDump: ['Listeners', 'listener', { static_listeners: 'static', dynamic_listeners: '' }],
  ClustersConfigDump: ['Clusters', 'cluster',
    { static_clusters: 'static', dynamic_active_clusters: '', dynamic_warming_clusters: 'warming' }],
  EndpointsConfigDump: ['Endpoints', 'endpoint_config', { static_endpoint_configs: 'static', dynamic_endpoint_configs: '' }],
  RoutesConfigDump: ['Routes', 'route_config', { static_route_configs: 'static', dynamic_route_configs: '' }],
  SecretsConfigDump: ['Secrets', 'secret',
    { static_secrets: 'static', dynamic_active_secrets: '', dynamic_warming_secrets: 'warming' }],
};
const STATES = { active_state: '', warming_state: 'warming', draining_state: 'draining' };

/** Keys and passwords are nobody's business, even if an Envoy showed them. */
function harmless(value) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(harmless);
  const hidden = ['private_key', 'password', 'inline_bytes', 'session_ticket_keys', 'generic_secret'];
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, hidden.includes(name) ? '[not shown]' : harmless(inner)]));
}

/** The resources of a dump: section, name, state, version, time, content, and the error of one that Envoy refused. */
function resources(dump) {
  return (dump.configs ?? []).flatMap((config) => {
    const type = config['@type']?.split('.').pop();
    if (!SECTIONS[type]) {
      const section = type === 'BootstrapConfigDump' ? 'Bootstrap' : 'Other';
      return [{ section, name: type ?? 'unnamed', state: '', updated: config.last_updated, content: config.bootstrap ?? config }];
    }
    const [section, member, lists] = SECTIONS[type];
    return Object.entries(lists).flatMap(([list, state]) => (config[list] ?? []).flatMap((entry) => {
      const one = (from, state) => {
        const content = from[member] ?? {};
        return { section, name: entry.name ?? content.name ?? content.cluster_name ?? content.virtual_hosts?.[0]?.name ?? 'unnamed', state, version: from.version_info,
          updated: from.last_updated, content: section === 'Secrets' ? harmless(content) : content };
      };
      const found = entry[member] ? [one(entry, state)]
        : Object.entries(STATES).filter(([name]) => entry[name]).map(([name, state]) => one(entry[name], state));
      const refused = entry.error_state;
      const attempt = refused && { ...one({ [member]: refused.failed_configuration, last_updated: refused.last_update_attempt }, 'refused'), error: refused.details };
      return attempt ? [attempt, ...found] : found;
    }));
  });
}

function configuration(dump) {
  const all = resources(dump);
  const sections = [...new Set(all.map(({ section }) => section))];
  const result = h('div', null);
  let [wanted, term] = ['', ''];
  const show = () => {
    const fit = all.filter((one) => (!wanted || one.section === wanted)
      && (!term || one.name.toLowerCase().includes(term) || has(one.content, term)));
    const open = fit.length <= 3 && (term !== '' || wanted !== '');
    const line = (one) => [h('code', null, one.name), ' ', one.state && badge(one.state), one.version && h('small', null, ` version ${one.version.slice(0, 12)}`),
      one.updated && h('small', null, ' changed ', when(one.updated))];
    const part = (one) => folded(line(one), () => h('div', null, one.error && h('pre', { class: 'problem' }, one.error),
      tree(one.content, term)), open || Boolean(one.error), 'resource');
    const shown = fit.slice(0, MOST);
    result.replaceChildren(h('p', { class: 'quiet', role: 'status' }, `${fit.length.toLocaleString()} of ${count(all.length, 'resource')}`,
      fit.length > MOST && `; the first ${MOST} are shown, a search finds the others`),
    ...sections.map((section) => [section, shown.filter((one) => one.section === section)]).filter(([, some]) => some.length)
      .map(([section, some]) => h('section', null, h('h2', null, `${section} (${fit.filter((one) => one.section === section).length})`), some.map(part))));
  };
  show();
  const choose = h('label', null, 'Show', h('select', { onchange: ({ target }) => { wanted = target.value; show(); } },
    h('option', { value: '' }, 'everything'), sections.map((section) => h('option', { value: section }, section))));
  return [[choose, search('Search names and contents', (text) => { term = text; show(); })], result];
}

function statistics(own, signal) {
  let all = false;
  let term = '';
  const ask = () => get(`${own}/stats?format=json${all ? '&usedonly=false' : ''}`, signal);
  const unused = h('label', null, 'Also unused', h('input', { type: 'checkbox', onchange: ({ target }) => { all = target.checked; place.load(); } }));
  const show = ({ stats = [] }) => {
    const [numbers, histograms] = [stats.filter((one) => one.name), stats.flatMap((one) => quantiles(one.histograms))];
    const result = h('div', null);
    const fill = () => {
      const fit = (one) => one.name.toLowerCase().includes(term);
      const rows = numbers.filter(fit).sort((a, b) => a.name.localeCompare(b.name));
      const times = histograms.filter(fit);
      result.replaceChildren(h('p', { class: 'quiet', role: 'status' }, `${rows.length.toLocaleString()} of ${count(numbers.length, 'value')}`,
        rows.length > ROWS && `; the first ${ROWS} are shown, a search finds the others`),
      table([['Name', ({ name }) => h('code', null, name)], ['Value', ({ value }) => number(value), 'number']], rows.slice(0, ROWS), 'No value has this name.'),
      times.length > 0 && h('div', null, h('h2', null, 'Distributions since Envoy started'), table([['Name', ({ name }) => h('code', null, name)],
        ...[50, 90, 99, 100].map((quantile) => [quantile === 100 ? 'Most' : `P${quantile}`, (one) => number(one.values.get(quantile)), 'number'])],
      times.slice(0, ROWS))));
    };
    fill();
    const field = search('Search names', (text) => { term = text; fill(); });
    field.querySelector('input').value = term;
    return [field, result];
  };
  const place = asked(signal, ask, show, unused);
  return place;
}

const number = (value) => (typeof value === 'number' || /^\d+$/.test(value) ? Number(value).toLocaleString(undefined, { maximumFractionDigits: 3 }) : value ?? '–');

/** Histograms with their values by quantile; those that have seen nothing are left out. */
function quantiles({ supported_quantiles: supported = [], computed_quantiles: computed = [] } = {}) {
  return computed.map(({ name, values }) => ({ name, values: new Map(supported.map((quantile, at) => [quantile, values[at]?.cumulative])) }))
    .filter(({ values }) => [...values.values()].some((value) => value != null));
}

function clusters({ cluster_statuses: all = [] }) {
  const rows = [...all].sort((a, b) => a.name.localeCompare(b.name)).flatMap((cluster) => (cluster.host_statuses ?? [{}]).map((host) => ({ cluster, host, health: health(host) })));
  const result = h('div', null);
  let [term, unhealthy] = ['', false];
  const stat = (name) => ({ host }) => number(host.stats?.find((one) => one.name === name)?.value ?? (host.stats ? 0 : undefined));
  const fill = () => {
    const fit = rows.filter(({ cluster, host, health }) => (!unhealthy || health.length > 0)
      && (cluster.name.toLowerCase().includes(term) || endpoint(host).toLowerCase().includes(term)));
    result.replaceChildren(h('p', { class: 'quiet', role: 'status' }, `${count(new Set(fit.map(({ cluster }) => cluster)).size, 'cluster')}, `,
      count(fit.filter(({ host }) => host.address).length, 'endpoint'), fit.length > ROWS && `; the first ${ROWS} are shown`),
    fit.length ? table([['Cluster', ({ cluster }) => h('code', null, cluster.name)], ['Endpoint', ({ host }) => h('code', null, endpoint(host))],
      ['Health', ({ host, health }) => (!host.address ? '' : health.length ? health.map((why) => badge(why)) : badge('healthy'))],
      ['Zone', ({ host }) => [host.locality?.zone, host.priority > 0 && ` priority ${host.priority}`].filter(Boolean)],
      ['Weight', ({ host }) => host.weight, 'number'], ['Connections', stat('cx_active'), 'number'], ['Failed', stat('cx_connect_fail'), 'number'],
      ['Requests', stat('rq_total'), 'number'], ['Active', stat('rq_active'), 'number'], ['Errors', stat('rq_error'), 'number']], fit.slice(0, ROWS))
      : empty('No endpoint fits.'));
  };
  fill();
  return [[search('Search clusters and addresses', (text) => { term = text; fill(); }),
    h('label', null, 'Only unhealthy', h('input', { type: 'checkbox', onchange: ({ target }) => { unhealthy = target.checked; fill(); } }))], result];
}

function endpoint({ address = {} }) {
  const { socket_address: socket, pipe, envoy_internal_address: internal } = address;
  if (socket) return socket.address?.includes(':') ? `[${socket.address}]:${socket.port_value}` : `${socket.address}:${socket.port_value}`;
  return pipe?.path ?? internal?.server_listener_name ?? '';
}

const FAILURES = { failed_active_health_check: 'failed health check', failed_outlier_check: 'ejected', failed_active_degraded_check: 'degraded',
  pending_dynamic_removal: 'going', pending_active_hc: 'not checked yet', excluded_via_immediate_hc_fail: 'excluded' };

/** What is wrong with an endpoint; empty when nothing is. */
function health({ health_status: status = {} }) {
  const told = status.eds_health_status;
  return [told && !['HEALTHY', 'UNKNOWN'].includes(told) && told.toLowerCase(), ...Object.entries(FAILURES).map(([key, text]) => status[key] && text)]
    .filter(Boolean);
}
