// The frame of the page: addresses, navigation, and what is shown where.

import { config, get, token } from './api.js';
import { h, notice, problem } from './dom.js';
import { mesh, meshes } from './mesh.js';
import { overview } from './overview.js';
import { proxy } from './proxy.js';
import { catalogue, resources } from './resources.js';
import { showUser, signIn } from './session.js';
import { zone, zones } from './zone.js';

/** Pages by the segments of their address; null stands for any. */
const PAGES = [
  [[], overview],
  [['zones'], zones],
  [['zones', null], zone],
  [['meshes'], meshes],
  [['meshes', null], mesh],
  [['meshes', null, 'dataplanes', null], proxy],
  [['zoneingresses', null], proxy],
  [['zoneegresses', null], proxy],
  [['r'], catalogue],
];
const NAVIGATION = [['', 'Overview'], ...(config.mode === 'global' ? [['zones', 'Zones']] : []), ['meshes', 'Meshes'], ['r', 'Resources']];

const BASE = new URL(document.baseURI).pathname;
const main = document.getElementById('main');
let shown = new AbortController();

const segmentsOf = (pathname) => pathname.slice(BASE.length).split('/').filter(Boolean).map(decodeURIComponent);

function pageOf(segments) {
  if (segments[0] === 'r' && segments.length > 1) return resources;
  const fits = ([pattern]) => pattern.length === segments.length && pattern.every((part, at) => part === null || part === segments[at]);
  return PAGES.find(fits)?.[1] ?? (() => problem({ title: 'No such page', message: 'The address leads nowhere. Start from the overview.' }));
}

async function show() {
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  const segments = segmentsOf(location.pathname);
  for (const link of document.querySelectorAll('#nav a')) {
    const isHere = segmentsOf(new URL(link.href).pathname)[0] === segments[0];
    isHere ? link.setAttribute('aria-current', 'page') : link.removeAttribute('aria-current');
  }
  let content;
  try {
    content = await pageOf(segments)({ segments, signal, open, reload: show });
  } catch (error) {
    content = problem(error);
  }
  if (signal.aborted) return;
  main.replaceChildren(content);
  document.title = [main.querySelector('h1')?.firstChild?.textContent, 'Tandem'].filter(Boolean).join(' · ');
}

/** Goes to an address below the base of the page. */
function open(address) {
  history.pushState(null, '', address.startsWith('/') ? address : BASE + address);
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
  show();
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (link.classList.contains('skip')) { event.preventDefault(); main.focus(); return; }
  if (url.origin !== location.origin || !url.pathname.startsWith(BASE)) return;
  event.preventDefault();
  open(url.pathname + url.search + url.hash);
});
addEventListener('popstate', show);

const user = document.getElementById('user');
const start = async () => {
  const known = await showUser(user, start).catch((error) => notice(error.message));
  await show();
  return known;
};
addEventListener('unauthenticated', () => { token.set(null); signIn(start, true); });

document.getElementById('role').textContent = config.mode;
document.getElementById('nav').replaceChildren(...NAVIGATION.map(([address, name]) => h('a', { href: address || '.' }, name)));
get('/').then(({ hostname }) => { document.getElementById('role').title = hostname; }, () => {});
start().then((known) => known === false && signIn(start, false));
