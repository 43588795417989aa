import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { test, type TestContext } from 'node:test';

import { Bridge, Failed, isOlder, saidIn } from '../../src/bridge.ts';
import { held, wishOf } from '../../src/launch/attribute.ts';
import { Holds } from '../../src/launch/holds.ts';

/** A command that does what the script says. */
async function pretended(t: TestContext, script: string): Promise<{ bridge: Bridge; log: () => Promise<string> }> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'bridge-vscode-'));
  t.after(() => rm(folder, { recursive: true }));
  const program = path.join(folder, 'bridge');
  const version = 'case "$*" in *version*) echo 0.1.0; exit ;; esac';
  await writeFile(program, `#!/bin/sh\nlog=${folder}/log\n${version}\n${script}\n`);
  await chmod(program, 0o755);
  const log = () => readFile(path.join(folder, 'log'), 'utf8').catch(() => '');
  return { bridge: new Bridge(() => program, () => undefined), log };
}

async function failure(promise: Promise<unknown>): Promise<Failed> {
  const error: unknown = await promise.then(() => undefined, (error: unknown) => error);
  assert.ok(error instanceof Failed, `expected a failure, not ${String(error)}`);
  return error;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const began = Date.now(); !(await holds()); await new Promise((resolve) => setTimeout(resolve, 10))) {
    assert.ok(Date.now() - began < 20_000, `expected: ${what}`);
  }
}

/** As `bridge run` does: says what it does, then the command reads until nobody writes any more. */
const RUNS = `echo "began $*" >>$log; echo '{"step":"starting agents"}' >&2; cat; echo ended >>$log`;

test('versions are compared by number', () => {
  for (const [version, older] of [['0.1.0', false], ['0.0.9', true], ['0.10.0', false], ['1.0.0-rc', false], ['', true]] as const) {
    assert.equal(isOlder(version, [0, 1, 0]), older, version);
  }
});

test('a line of stderr is read for what it is', () => {
  assert.deepEqual(saidIn('{"step":"starting"}'), { kind: 'step', text: 'starting' });
  assert.deepEqual(saidIn('[1]'), { kind: 'note', text: '[1]' });
  assert.deepEqual(saidIn('a program’s own'), { kind: 'note', text: 'a program’s own' });
});

test('without bridge, and with one that is too old, there is a sentence', async (t) => {
  const none = new Bridge(() => '/nowhere/bridge', () => undefined);
  assert.equal((await failure(none.json(['status']))).code, 'no-bridge');
  const { bridge } = await pretended(t, '');
  const old = new Bridge(() => bridge.program, () => undefined);
  await writeFile(bridge.program, '#!/bin/sh\necho "Object is unknown" >&2; exit 255\n');
  assert.match((await failure(old.json(['status']))).message, /another program/);
  await writeFile(bridge.program, '#!/bin/sh\necho 0.0.3\n');
  const failed = await failure(old.json(['status']));
  assert.equal(failed.code, 'old-bridge');
  assert.match(failed.message, /0\.0\.3/);
});

test('a failure is the command’s own', async (t) => {
  const document = '{"error":{"code":"quota","message":"no room","object":"","next":"ask"}}';
  const { bridge } = await pretended(t, `echo '${document}'; exit 3`);
  const failed = await failure(bridge.json(['connect', 'orders']));
  assert.deepEqual([failed.code, failed.message, failed.next], ['quota', 'no room', 'ask']);
});

test('a session is held by all who use it, and ends after the last', async (t) => {
  const { bridge, log } = await pretended(t, RUNS);
  let count = 0;
  const holds = new Holds(bridge, (now) => (count = now), () => undefined);
  t.after(() => holds.dispose());
  const never = new AbortController().signal;
  const steps: string[] = [];
  const [one, two] = await Promise.all([
    holds.take({ args: held(wishOf('orders')) }, (said) => steps.push(said.text), never),
    holds.take({ args: held(wishOf('orders')) }, () => undefined, never),
  ]);
  assert.deepEqual(steps, ['starting agents']);
  assert.equal((await log()).match(/began/g)?.length, 1);
  assert.match(await log(), /run orders --files=none -- cat/);
  one.release();
  one.release();
  assert.equal(count, 1, 'the other one still holds it');
  two.release();
  const again = await holds.take({ args: held(wishOf('orders')) }, () => undefined, never);
  assert.equal((await log()).match(/began/g)?.length, 1, 'a restart finds the session');
  again.release();
  await until('it ends', async () => /ended/.test(await log()));
});

test('the window gets each warning about a session', async (t) => {
  const trouble = `echo '{"warning":"before"}' >&2; echo '{"note":"x"}' >&2; read line; echo "$line"; cat; echo '{"warning":"ended"}' >&2`;
  const { bridge } = await pretended(t, trouble);
  const warnings: string[] = [];
  const holds = new Holds(bridge, () => undefined, (text) => warnings.push(text));
  const hold = await holds.take({ args: held(wishOf('orders')) }, () => undefined, new AbortController().signal);
  hold.release();
  await until('both warnings came', async () => warnings.length === 2);
  assert.deepEqual(warnings, ['before', 'ended']);
});

test('a command that does not read ends all the same', async (t) => {
  const { bridge, log } = await pretended(t, `trap 'echo ended >>$log; exit 0' TERM; echo http://x/; while :; do sleep 0.05; done`);
  const holds = new Holds(bridge, () => undefined, () => undefined);
  const hold = await holds.take({ args: ['open', 'web'], deaf: true }, () => undefined, new AbortController().signal);
  assert.equal(hold.line, 'http://x/');
  holds.dispose();
  await until('it ends', async () => /ended/.test(await log()));
});

test('a session that cannot be held says why; one that is given up ends', async (t) => {
  const refusing = await pretended(t, `echo '{"error":"nothing not found"}' >&2; echo '{"next":"bridge list"}' >&2; exit 3`);
  const never = new AbortController().signal;
  const failed = await failure(new Holds(refusing.bridge, () => undefined, () => undefined).take({ args: held(wishOf('nothing')) }, () => undefined, never));
  assert.deepEqual([failed.message, failed.next], ['nothing not found', 'bridge list']);

  for (const what of [{ args: held(wishOf('orders')) }, { args: ['open', 'web'], deaf: true }]) {
    const slow = await pretended(t, `trap 'echo undone >>$log; exit 130' TERM; echo '{"step":"x"}' >&2; while :; do sleep 0.05; done`);
    const holds = new Holds(slow.bridge, () => undefined, () => undefined);
    const cancel = new AbortController();
    const taken = holds.take(what, () => cancel.abort(new Error('cancelled')), cancel.signal);
    await assert.rejects(taken, /cancelled/);
    await until('it is undone', async () => /undone/.test(await slow.log()));
  }
});
