// What insights say: who is online, and how synchronization goes.

import { badge, empty, facts, h, table, when } from './dom.js';

/** Subscriptions, newest first. */
export const subscriptions = (insight) => [...(insight?.subscriptions ?? [])].reverse();

export const isOnline = (insight) => subscriptions(insight).some((one) => one.connectTime && !one.disconnectTime);

/** When the other side connected or was lost. */
export function lastSeen(insight) {
  const [newest] = subscriptions(insight);
  if (isOnline(insight)) return ['connected ', when(newest.connectTime)];
  return newest ? ['lost ', when(newest.disconnectTime ?? newest.connectTime)] : h('span', { class: 'quiet' }, 'never');
}

const isReady = (inbound) => inbound.state !== 'NotReady' && inbound.state !== 'Ignored' && inbound.health?.ready !== false;

/** Status of a proxy: that of its connection and of its inbounds. */
export function status(insight, proxy) {
  if (!isOnline(insight)) return 'offline';
  return (proxy?.networking?.inbound ?? []).every(isReady) ? 'online' : 'degraded';
}

export const readiness = (inbound) => badge(isReady(inbound) ? 'ready' : 'not ready');

/** The name that a resource has where it comes from. */
export const displayName = (resource) => resource.labels?.['kuma.io/display-name'] ?? resource.name;
export const zoneOf = (resource) => resource.labels?.['kuma.io/zone'];

const count = (value) => Number(value ?? 0).toLocaleString();

/** Numbers of responses by type; refusals stand out. */
function counters(entries) {
  const rows = entries.filter(([, numbers]) => numbers && Object.keys(numbers).length).sort(([a], [b]) => a.localeCompare(b));
  const refused = (numbers) => (Number(numbers.responsesRejected ?? 0) ? h('strong', { class: 'bad' }, count(numbers.responsesRejected)) : '0');
  return table([['Type', ([name]) => name], ['Sent', ([, n]) => count(n.responsesSent), 'number'],
    ['Acknowledged', ([, n]) => count(n.responsesAcknowledged), 'number'], ['Rejected', ([, n]) => refused(n), 'number'],
  ], rows, 'Nothing was sent yet.');
}

/** Connections, the newest one unfolded; `byType` takes the counters out of a status. */
export function connections(insight, byType) {
  const all = subscriptions(insight);
  if (!all.length) return empty('Never connected.');
  return all.map((one, index) => {
    const { version = {} } = one;
    const rejected = Number(one.status?.total?.responsesRejected ?? 0);
    return h('details', { open: index === 0 },
      h('summary', null, badge(one.disconnectTime ? 'offline' : 'online'), ' ', h('code', null, one.id.slice(0, 8)),
        rejected > 0 && h('span', { class: 'bad' }, ` ${count(rejected)} rejected`)),
      facts([['Connected', when(one.connectTime)], ['Disconnected', one.disconnectTime && when(one.disconnectTime)],
        ['Last answer', one.status?.lastUpdateTime && when(one.status.lastUpdateTime)],
        ['Control plane', one.globalInstanceId ?? one.controlPlaneInstanceId], ['Instance in the zone', one.zoneInstanceId],
        ['Generation', one.generation], ['kuma-cp', version.kumaCp?.version], ['kuma-dp', version.kumaDp?.version],
        ['Envoy', version.envoy?.version], ['Errors', one.status?.errors?.join?.('; ')]]),
      counters(byType(one.status ?? {})));
  });
}
