// How far the synchronization with a zone is, type by type.

import { config, get, write } from './api.js';
import { badge, confirm, facts, h, notice, path, problem, table, when } from './dom.js';
import { part } from './lists.js';

const UNITS = [[86400, 'd'], [3600, 'h'], [60, 'min']];

/** A time in seconds, short. */
export function lag(seconds) {
  if (seconds == null) return '–';
  const [length, unit] = UNITS.find(([length]) => seconds >= length) ?? [1, 's'];
  return `${length === 1 && seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds / length)} ${unit}`;
}

const SIZES = ['B', 'kB', 'MB', 'GB'];
function size(bytes) {
  const step = bytes ? Math.min(SIZES.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${Math.round(bytes / 1000 ** step)} ${SIZES[step]}`;
}

const known = (value) => value ?? '–';

const common = [
  ['Type', ({ type }) => type],
  ['State', ({ state }) => badge(state)],
  ['Resources', ({ resources }) => resources, 'number'],
];
const sentColumns = [...common,
  ['Revision', ({ revision }) => revision, 'number'],
  ['Confirmed', ({ acknowledgedRevision }) => known(acknowledgedRevision), 'number'],
  ['Pending', ({ pending }) => known(pending), 'number'],
  ['Lag', ({ lagSeconds }) => lag(lagSeconds), 'number'],
  ['Size', ({ bytes }) => size(bytes), 'number'],
  ['Left out', ({ leftOut }) => leftOut.total, 'number'],
];
const receivedColumns = [...common,
  ['Revision', ({ revision }) => known(revision), 'number'],
  ['Responses', ({ responses }) => responses, 'number'],
  ['Size', ({ bytes }) => size(bytes), 'number'],
  ['Left out', ({ leftOut }) => leftOut.total, 'number'],
];

/** Types of which there is something; the others on demand. */
function types(columns, all) {
  const isUsed = ({ resources, pending, leftOut, heldDeletions, error }) => resources || pending || leftOut.total || heldDeletions || error;
  const quiet = all.filter((type) => !isUsed(type));
  return [table(columns, all.filter(isUsed), 'Nothing since this control plane started.'), quiet.length > 0 &&
    h('details', null, h('summary', null, 'Types without resources'), table(columns, quiet))];
}

/** The resources that one side does not take. */
function leftOut(title, types) {
  const rows = types.flatMap(({ type, leftOut }) => leftOut.items.map((item) => ({ type, ...item })));
  const total = types.reduce((sum, { leftOut }) => sum + leftOut.total, 0);
  return total > 0 && [h('h2', null, title), table([['Type', ({ type }) => type], ['Mesh', ({ mesh }) => mesh || '–'],
    ['Name', ({ name }) => name], ['Since', ({ since }) => when(since)], ['Reason', ({ reason }) => reason]], rows, 'Only administrators see which.'),
  total > rows.length && rows.length > 0 && h('p', { class: 'quiet' }, `${total - rows.length} more`)];
}

/** Deletions that wait for somebody's word. */
function held(types, release) {
  const rows = types.filter(({ heldDeletions }) => heldDeletions);
  return rows.length > 0 && [h('h2', null, 'Held deletions'), h('p', null,
    'The zone no longer lists these resources and has not deleted them by name. They stay until it does, until the time given, ',
    'or until you release them.'),
  table([['Type', ({ type }) => type], ['Resources', ({ heldDeletions }) => heldDeletions.total, 'number'],
    ['For example', ({ heldDeletions }) => heldDeletions.items.slice(0, 3).map(({ name }) => name).join(', ')],
    ['Since', ({ heldDeletions }) => when(heldDeletions.since)], ['Until', ({ heldDeletions }) => when(heldDeletions.until)],
    ['', (row) => !config.apiReadOnly && h('button', { type: 'button', class: 'danger', onclick: () => release(row) }, 'Delete now')]], rows)];
}

/** What is known of the synchronization with a zone; looked at again every so many ms. */
export function synchronization(signal, name, every) {
  const own = `/${path('zones', name)}/_sync`;
  const place = part(signal, ['/zone-insights'], async () => {
    const sync = await get(own, signal);
    const { sent = [], received = [] } = sync;
    return h('div', null,
      facts([['State', badge(sync.state)], ['Connected', sync.connectedSince && when(sync.connectedSince)],
        ['Connected to', sync.connectedTo], ['Left', sync.disconnectedSince && when(sync.disconnectedSince)],
        ['Pending', sync.pending], ['Lag', sync.lagSeconds == null ? null : lag(sync.lagSeconds)],
        ['False claims', sync.relabelled || null], ['Refused', sync.refused || null],
        ['Last error', sync.error && [sync.error.text, ' ', when(sync.error.since)]]]),
      held(received, release), leftOut('Left out by the zone', sent), leftOut('Left out by global', received),
      h('h2', null, 'Sent to the zone'), types(sentColumns, sent), h('h2', null, 'Received from the zone'), types(receivedColumns, received));
  }, every);
  async function release({ type, heldDeletions }) {
    const question = h('p', null, `The zone does not list ${heldDeletions.total} resources of type ${type} any more. They will be deleted here.`);
    if (!(await confirm(`Delete ${heldDeletions.total} resources?`, question, 'Delete'))) return;
    try {
      const { released } = await write('POST', `${own}/${path(type)}/_release`);
      notice(`${released} deletions released`);
    } catch (error) {
      place.prepend(problem(error));
      return;
    }
    await place.reload();
  }
  return place;
}
