// Questions before something is changed, and the small forms.

import { h, toast, fmt } from './dom.js';
import { get, post, appPath, token } from './api.js';

/**
 * Asks. Escape and the backdrop mean no.
 * @param {{title: string, body: Node[], action: string, danger?: boolean, run?: () => Promise<string>}} options
 *   run's text is shown when it is done; what it throws is shown in the dialog, which stays.
 */
export function ask({ title, body, action, danger, run }) {
  const before = document.activeElement;
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const confirm = h('button', { class: danger ? 'button danger' : 'button primary', type: 'submit' }, action);
  const cancel = h('button', { class: 'button', type: 'button', onclick: () => dialog.close() }, run ? 'Cancel' : 'Close');
  const form = h('form', { method: 'dialog', onsubmit: submit },
    h('h2', { id: 'dialog-title' }, title), body, problem, h('div', { class: 'dialog-actions' }, cancel, run ? confirm : null));
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
  async function submit(event) {
    event.preventDefault();
    confirm.disabled = true;
    problem.hidden = true;
    try {
      const done = await run();
      dialog.close();
      if (done) toast(done);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      confirm.disabled = false;
    }
  }
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => { dialog.remove(); before?.focus?.(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

const PERIODS = [[0, 'until the autoscaler or somebody changes it'], [1800, 'for 30 minutes'], [7200, 'for 2 hours'], [86400, 'for a day']];

export function scale(app) {
  const input = h('input', { id: 'replicas', type: 'number', min: 0, max: 100, required: true, value: app.wanted });
  const period = h('select', { id: 'period' }, PERIODS.map(([seconds, label]) => h('option', { value: seconds }, label)));
  const isAuto = app.mode === 'auto';
  ask({
    title: `Scale ${app.name}`,
    body: [
      h('p', {}, `${fmt.plural(app.wanted, 'replica')} wanted now, ${app.ready} ready.`,
        isAuto ? ` The autoscaler may choose between ${app.min} and ${app.max}.` : ''),
      h('label', { for: 'replicas' }, 'Replicas'), input,
      isAuto ? h('label', { for: 'period' }, 'Keep it') : null, isAuto ? period : null,
    ],
    action: 'Scale',
    async run() {
      const body = { replicas: Number(input.value) };
      if (isAuto && Number(period.value)) body.forSeconds = Number(period.value);
      await post(appPath(app.name, '/scale'), body);
      return `${app.name}: ${fmt.plural(body.replicas, 'replica')} wanted`;
    },
  });
  input.select();
}

export function pause(app) {
  const direction = h('select', { id: 'direction' }, [['both', 'in both directions'], ['in', 'scaling in (fewer replicas)'], ['out', 'scaling out (more replicas)']]
    .map(([value, label]) => h('option', { value }, label)));
  const period = h('select', { id: 'period' }, [[0, 'until somebody resumes it'], ...PERIODS.slice(1)].map(([seconds, label]) => h('option', { value: seconds }, label)));
  ask({
    title: `Pause autoscaling of ${app.name}`,
    body: [
      h('p', {}, `It stays at ${fmt.plural(app.wanted, 'replica')}; instances that fail are still replaced.`),
      h('label', { for: 'direction' }, 'Pause'), direction, h('label', { for: 'period' }, 'How long'), period,
    ],
    action: 'Pause',
    async run() {
      const body = { action: 'pause', direction: direction.value };
      if (Number(period.value)) body.forSeconds = Number(period.value);
      await post(appPath(app.name, '/autoscale'), body);
      return `Autoscaling of ${app.name} is paused`;
    },
  });
}

export function resume(app) {
  simple(app, '/autoscale', { action: 'resume', direction: 'both' }, `Resume autoscaling of ${app.name}`,
    `The autoscaler decides again, between ${app.min} and ${app.max} replicas.`, 'Resume', `Autoscaling of ${app.name} goes on`);
}

export function retry(app) {
  simple(app, '/retry', undefined, `Retry ${app.name}`,
    'What waits after a crash or a failed pull is tried again at once.', 'Retry', `${app.name} is tried again`);
}

export function start(app) {
  simple(app, '/up', undefined, `Start ${app.name}`, 'Its instances are started and get traffic when they are ready.', 'Start', `${app.name} starts`);
}

export function stop(app) {
  simple(app, '/down', undefined, `Stop ${app.name}`,
    `All ${fmt.plural(app.instances, 'instance')} finish their requests and stop. ${app.name} answers nobody until it is started again.`,
    'Stop', `${app.name} stops`, true);
}

export function steer(app, what) {
  const words = {
    pause: ['Pause', 'No further instance is replaced until it is resumed.', 'is paused'],
    resume: ['Resume', 'It goes on where it was.', 'goes on'],
    abort: ['Abort', 'It goes back to the revision it came from.', 'is aborted'],
  }[what];
  simple(app, `/rollout/${what}`, undefined, `${words[0]} the rollout of ${app.name}`, words[1], words[0], `The rollout of ${app.name} ${words[2]}`, what === 'abort');
}

function simple(app, path, body, title, text, action, done, danger = false) {
  ask({
    title, body: [h('p', {}, text)], action, danger,
    async run() {
      await post(appPath(app.name, path), body);
      return done;
    },
  });
}

/** @param {number=} to nil: the last one that worked, chosen in the dialog */
export async function rollback(app, to) {
  let revisions;
  try {
    revisions = (await get(appPath(app.name, '/revisions'))).revisions;
  } catch (error) {
    return toast(error.message, 'bad');
  }
  const others = revisions.filter((revision) => !revision.current);
  if (!others.length) {
    return ask({ title: `Roll back ${app.name}`, body: [h('p', {}, `Revision ${app.revision} is the only one there is.`)], action: '' });
  }
  const choice = h('select', { id: 'revision' }, others.map((revision) => h('option', { value: revision.revision },
    `${revision.revision} · ${revision.image} · ${fmt.date(revision.created_at)}${revision.state === 'none' ? '' : ` · ${revision.state}`}`)));
  if (to) choice.value = to;
  return ask({
    title: `Roll back ${app.name}`,
    body: [
      h('p', {}, `Revision ${app.revision} (${app.image}) runs now. Going back makes a new revision with what the chosen one had, and replaces the instances one after the other.`),
      h('label', { for: 'revision' }, 'Back to revision'), choice,
    ],
    action: 'Roll back', danger: true,
    async run() {
      const answer = await post(appPath(app.name, '/rollback'), { to: Number(choice.value) });
      return answer.status === 'no_change' ? `${app.name} has that already` : `${app.name} goes back to revision ${choice.value}, as revision ${answer.revision}`;
    },
  });
}

export function askToken(reason, changed) {
  const input = h('input', { id: 'bearer', type: 'password', autocomplete: 'off', value: token.get(), placeholder: 'empty: none is sent' });
  ask({
    title: 'API token',
    body: [
      h('p', {}, reason || 'Sent with every request as a bearer token. This browser keeps it until the tab is closed.'),
      h('label', { for: 'bearer' }, 'Token'), input,
    ],
    action: 'Use it',
    async run() {
      token.set(input.value.trim());
      changed();
      return input.value.trim() ? 'The token is used from now on' : 'No token is sent from now on';
    },
  });
}

export function shortcuts() {
  const keys = [['/', 'find an app'], ['j  k', 'next, previous app'], ['Enter', 'open the app'], ['Esc', 'back; close; clear the search'],
    ['1  2  3', 'apps, cluster, events'], ['s', 'scale the open app'], ['l', 'logs of the open app'], ['t', 'light or dark'], ['?', 'this']];
  ask({
    title: 'Keyboard', action: '',
    body: [h('dl', { class: 'keys' }, keys.map(([name, does]) => [h('dt', {}, name.split('  ').map((key) => h('kbd', {}, key))), h('dd', {}, does)]))],
  });
}
