// Who uses the page.

import { get, token } from './api.js';
import { h, problem } from './dom.js';

const ANONYMOUS = 'mesh-system:anonymous';

/** Shows the user in the header; on this host that is the administrator, elsewhere whom the token names. */
export async function showUser(place, reload) {
  const user = await get('/who-am-i');
  const name = user.name.replace('mesh-system:', '');
  const leave = () => { token.set(null); reload(); };
  const action = token.get()
    ? h('button', { type: 'button', onclick: leave }, 'Sign out')
    : user.name === ANONYMOUS && h('button', { type: 'button', onclick: () => signIn(reload) }, 'Sign in');
  place.replaceChildren(h('span', { title: user.groups.join(', ') }, name), action || '');
  return user.name !== ANONYMOUS;
}

/** Asks for a user token. The page works without one as far as anonymous users may read. */
export function signIn(done, refused) {
  if (document.getElementById('sign-in')) return;
  const field = h('textarea', { id: 'token', rows: 4, required: true, autocomplete: 'off', spellcheck: 'false', autofocus: true });
  const close = () => { dialog.close(); dialog.remove(); };
  const error = h('div');
  const submit = async (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    try {
      await get('/who-am-i');
      close();
      done();
    } catch (refusal) {
      token.set(null);
      error.replaceChildren(problem(refusal));
    }
  };
  const dialog = h('dialog', { id: 'sign-in', 'aria-label': 'Sign in', onclose: () => dialog.remove() },
    h('h2', null, 'Sign in'),
    refused && h('p', { class: 'problem' }, 'The token was refused: it is expired, revoked, or of another control plane.'),
    h('p', null, 'You come from another host. Paste a user token; it stays in this tab and is forgotten with it.'),
    h('form', { onsubmit: submit }, h('label', { for: 'token' }, 'User token'), field, error,
      h('p', { class: 'actions' }, h('button', { class: 'primary' }, 'Sign in'),
        h('button', { type: 'button', onclick: () => { close(); done(); } }, 'Go on without'))),
    h('p', { class: 'quiet' }, 'The administrator’s token is the global secret admin-user-token; others come from ',
      h('code', null, 'kumactl generate user-token'), '.'));
  document.body.append(dialog);
  dialog.showModal();
}
