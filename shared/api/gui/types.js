// The catalogue of types.

import { config, get } from './api.js';
import { h } from './dom.js';

/** What global gets from zones and so does not take from users; the catalogue does not say it. */
const OF_ZONES = ['Dataplane', 'ZoneIngress', 'ZoneEgress'];

let known;
/** Types by name and by path; each with `writable`. Asked for once. */
export function types(signal) {
  known ??= get('/_resources', signal).then(({ resources }) => new Map(resources.flatMap((type) => {
    const writable = !type.readOnly && !config.apiReadOnly && !(config.mode === 'global' && OF_ZONES.includes(type.name));
    const entry = { ...type, writable };
    return [[type.name, entry], [type.path, entry]];
  })));
  known.catch(() => { known = undefined; });
  return known;
}

/** Whether a resource comes from another control plane, which alone can change it. */
export function isForeign({ labels = {} }) {
  const origin = labels['kuma.io/origin'];
  return origin !== undefined && origin !== config.mode;
}

/** A link to where a resource of a type is made; nothing where that cannot be done. */
export function newLink(signal, type, list) {
  const place = h('span');
  types(signal).then((all) => all.get(type)?.writable && place.append(h('a', { class: 'button', href: `${list}?new` }, 'New')), () => {});
  return place;
}
