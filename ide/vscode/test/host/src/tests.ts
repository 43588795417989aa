// The tests inside the extension host, against a real cluster: each in turn, alone if BRIDGE_IDE_TEST is a pattern of its
// name.

import * as assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as vscode from 'vscode';

import * as world from './world.ts';

const EXTENSION = 'bridge-dev.bridge';
/** Of the pods' own configuration. */
const GREETING = /Welcome to the shop/;

const node = { name: 'orders', type: 'node', request: 'launch', program: '${workspaceFolder}/server.js' };

/** A request of mine stops at a breakpoint while the pods answer others; the variables are there. */
async function stopsAtMyRequest(
  configuration: vscode.DebugConfiguration,
  at: { file: string; line: number; path: string; greeting: string },
): Promise<void> {
  world.breakAt(at.file, at.line);
  assert.ok(await vscode.debug.startDebugging(world.folder(), configuration), 'it starts');
  await world.prints('listens on');
  const mine = world.mine('/v1/items?of=mine');
  const { session, thread, frame } = await world.stops();
  assert.match(await world.evaluate(session, frame, at.path), /\/v1\/items/);
  assert.match(await world.evaluate(session, frame, at.greeting), GREETING);
  for (const answer of await Promise.all([1, 2, 3].map(() => world.others('/whoami')))) {
    assert.deepEqual([answer.status, answer.answeredBy], [200, 'origin'], answer.body);
  }
  vscode.debug.removeBreakpoints(vscode.debug.breakpoints);
  await session.customRequest('continue', { threadId: thread });
  const answer = await mine;
  assert.equal(answer.answeredBy, 'laptop');
  assert.match(answer.body, /"by": ?"laptop"/);
}

const TESTS: Record<string, () => Promise<void>> = {
  async 'a Node.js program is debugged in the place of a Service'() {
    const at = { file: 'server.js', line: 7, path: 'request.url', greeting: 'process.env.GREETING' };
    await stopsAtMyRequest({ ...node, bridge: 'orders' }, at);
  },

  async 'a Python program is debugged in the place of a Service'() {
    const program = '${workspaceFolder}/server.py';
    const at = { file: 'server.py', line: 12, path: 'self.path', greeting: 'os.environ["GREETING"]' };
    await stopsAtMyRequest({ name: 'orders', type: 'debugpy', request: 'launch', program, bridge: 'orders' }, at);
  },

  async 'a Go program is debugged in the place of a Service'() {
    const dlvToolPath = world.made('bin/dlv');
    const program = world.made('bin/orders-in-go');
    const at = { file: 'go/main.go', line: 14, path: 'path', greeting: 'greeting' };
    const substitutePath = [{ from: '${workspaceFolder}/go', to: 'bridge.dev/ide/orders' }];
    const how = { mode: 'exec', program, dlvToolPath, substitutePath, outputMode: 'remote' };
    await stopsAtMyRequest({ name: 'orders', type: 'go', request: 'launch', ...how, bridge: 'orders' }, at);
  },

  async 'a child process takes the requests'() {
    const program = '${workspaceFolder}/parent.js';
    const at = { file: 'server.js', line: 7, path: 'request.url', greeting: 'process.env.GREETING' };
    await stopsAtMyRequest({ ...node, program, bridge: 'orders' }, at);
  },

  async 'the variables of the configuration win, and a match of its own holds'() {
    const wish = { target: 'orders', header: 'x-tenant=7', env: { FROM_BRIDGE: 'b', BOTH: 'bridge' } };
    const env = { GREETING: 'mine', BOTH: 'configuration' };
    const text = '`${process.env.GREETING} ${process.env.FROM_BRIDGE} ${process.env.BOTH}`';
    world.breakAt('server.js', 7);
    assert.ok(await vscode.debug.startDebugging(world.folder(), { ...node, env, bridge: wish }));
    await world.prints('listens on');
    const call = world.bridge('call', 'orders', '/', '-H', 'x-tenant: 7');
    const { session, frame, thread } = await world.stops();
    assert.match(await world.evaluate(session, frame, text), /mine b configuration/);
    await session.customRequest('continue', { threadId: thread });
    assert.equal(((await call) as world.Answer).answeredBy, 'laptop');
    assert.equal((await world.mine('/whoami')).answeredBy, 'origin');
  },

  async 'several Services at once, and a restart'() {
    const prices = { ...node, name: 'web', env: { PORT: '8090' }, bridge: { target: 'web', ports: 8090 } };
    const [one, two] = await Promise.all([
      vscode.debug.startDebugging(world.folder(), { ...node, bridge: 'orders' }),
      vscode.debug.startDebugging(world.folder(), prices),
    ]);
    assert.deepEqual([one, two], [true, true]);
    await world.prints('listens on 8080');
    await world.prints('listens on 8090');
    assert.deepEqual((await world.sessions()).map((session) => session.target).sort(), ['orders', 'web']);
    assert.equal((await world.mine('/')).answeredBy, 'laptop');
    world.forget();
    await vscode.commands.executeCommand('workbench.action.debug.restart');
    await world.prints('listens on');
    await world.eventually('both answer after the restart', async () =>
      (await world.mine('/')).answeredBy === 'laptop' ? true : undefined,
    );
  },

  async 'a command beside it keeps the session, and the last one ends it'() {
    const other = spawn('bridge', ['run', 'orders', '--', 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    const ended = new Promise((resolve) => other.once('exit', resolve));
    try {
      other.stdin.write('\n');
      await world.within('the other one runs', new Promise((resolve) => other.stdout.once('data', resolve)));
      assert.ok(await vscode.debug.startDebugging(world.folder(), { ...node, bridge: 'orders' }));
      await world.prints('listens on');
      assert.equal((await world.sessions()).length, 1);
      await vscode.debug.stopDebugging();
      await world.eventually('the editor uses it no more', async () => (world.holds() === 0 ? true : undefined));
      assert.equal((await world.sessions()).length, 1, 'the command still uses it');
    } finally {
      other.stdin.end();
      await ended;
    }
  },

  async 'the program replaces the pods, also after a restart'() {
    const wish = { target: 'orders', replace: true };
    assert.ok(await vscode.debug.startDebugging(world.folder(), { ...node, bridge: wish }));
    await world.prints('listens on');
    assert.equal((await world.others('/')).answeredBy, 'laptop');
    world.forget();
    await vscode.commands.executeCommand('workbench.action.debug.restart');
    await world.prints('listens on');
    await world.eventually('it answers everybody after the restart', async () =>
      (await world.others('/')).answeredBy === 'laptop' ? true : undefined,
    );
    await vscode.debug.stopDebugging();
    await world.eventually('the pods are back', async () => (await world.sessions()).length === 0 ? true : undefined);
    assert.equal((await world.mine('/whoami')).answeredBy, 'origin');
  },

  async 'a daemon that is killed comes back, and so do the requests'() {
    assert.ok(await vscode.debug.startDebugging(world.folder(), { ...node, bridge: 'orders' }));
    await world.prints('listens on');
    assert.equal((await world.mine('/')).answeredBy, 'laptop');
    process.kill(await world.daemon(), 'SIGKILL');
    await world.eventually('the laptop answers again', async () =>
      (await world.mine('/')).answeredBy === 'laptop' ? true : undefined,
    );
  },

  async 'what is none of ours is left alone'() {
    const seen: vscode.DebugConfiguration[] = [];
    const watched = vscode.debug.onDidStartDebugSession(({ configuration }) => seen.push(configuration));
    await vscode.debug.startDebugging(world.folder(), { ...node, bridge: undefined });
    await world.prints('listens on');
    watched.dispose();
    assert.ok(seen.every((configuration) => configuration['__bridgeLaunch'] === undefined));
    assert.deepEqual(await world.sessions(), []);
  },

  async 'an attach is left alone, whatever it says'() {
    const program = spawn('node', ['--inspect=127.0.0.1:0', world.file('first.js').fsPath], { stdio: ['ignore', 'ignore', 'pipe'] });
    try {
      const said = await world.within('the inspector listens', new Promise<string>((resolve) => program.stderr.once('data', resolve)));
      const port = Number(/127\.0\.0\.1:(\d+)/.exec(String(said))?.[1]);
      const opened = world.started();
      assert.ok(await vscode.debug.startDebugging(world.folder(), { name: 'a', type: 'node', request: 'attach', address: '127.0.0.1', port, bridge: 'orders' }));
      assert.equal((await opened).configuration['__bridgeLaunch'], undefined);
      assert.deepEqual(await world.sessions(), []);
    } finally {
      program.kill();
    }
  },

  async 'a browser opens the Service as me'() {
    const runtimeArgs = ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage'];
    const how = { runtimeExecutable: '/usr/bin/chromium', runtimeArgs, url: 'http://localhost:3000/whoami', browserLaunchLocation: 'workspace' };
    assert.ok(await vscode.debug.startDebugging(world.folder(), { ...node, bridge: 'orders' }));
    await world.prints('listens on');
    const chrome = { name: 'shop', type: 'chrome', request: 'launch', ...how, bridge: 'orders' };
    assert.ok(await vscode.debug.startDebugging(world.folder(), chrome));
    await world.eventually('its request comes to the program', async () => {
      const { requests } = (await world.bridge('requests', 'orders')) as { requests: { path: string; to: string }[] };
      return requests.find(({ path, to }) => path === '/whoami' && to === 'laptop');
    });
  },

  async 'a type that is not known gets requests and the environment'() {
    const env = { OWN: 'mine' };
    const opened = world.started();
    void vscode.debug.startDebugging(world.folder(), { name: 'x', type: 'unheard-of', request: 'launch', env, bridge: 'orders' });
    const { configuration } = await world.within('it starts', opened);
    const { GREETING: greeting, OWN: own } = configuration['env'] as Record<string, string>;
    assert.match(greeting ?? '', GREETING);
    assert.equal(own, 'mine');
    assert.equal((await world.sessions())[0]?.target, 'orders');
  },

  async 'a target that cannot be connected starts nothing'() {
    const started = await vscode.debug.startDebugging(world.folder(), { ...node, bridge: 'nothing' });
    assert.equal(started, false);
    const wrong = { ...node, bridge: { target: 'orders', unheard: 1 } };
    assert.equal(await vscode.debug.startDebugging(world.folder(), wrong), false);
    assert.deepEqual(await world.sessions(), []);
  },

  async 'a match that somebody else has starts nothing'() {
    const bob = spawn('bridge', ['run', 'orders', '--me', 'bob', '--header', 'x-tenant=7', '--', 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
    const ended = new Promise((resolve) => bob.once('exit', resolve));
    try {
      bob.stdin.write('\n');
      await world.within('bob is connected', new Promise((resolve) => bob.stdout.once('data', resolve)));
      const taken = { ...node, bridge: { target: 'orders', header: 'x-tenant=7' } };
      assert.equal(await vscode.debug.startDebugging(world.folder(), taken), false);
      assert.equal((await world.sessions()).length, 1, 'bob is still connected');
    } finally {
      bob.stdin.end();
      await ended;
    }
  },

  async 'a program that ends at once leaves nothing'() {
    const program = '${workspaceFolder}/package.json';
    await vscode.debug.startDebugging(world.folder(), { ...node, program, bridge: 'orders' });
  },

  async 'a task runs in the place of a Service'() {
    const [task] = (await vscode.tasks.fetchTasks()).filter((one) => one.definition.type === 'bridge');
    assert.ok(task, 'the task of tasks.json');
    const ended = new Promise<number | undefined>((resolve) => {
      const subscription = vscode.tasks.onDidEndTaskProcess((event) => {
        subscription.dispose();
        resolve(event.exitCode);
      });
    });
    await vscode.tasks.executeTask(task);
    assert.equal(await world.within('the task ends', ended), 0);
    assert.match(fs.readFileSync(world.file('task.out').fsPath, 'utf8'), GREETING);
  },
};

/** By the extension host's own marks. */
function between(what: string): string {
  const { MonacoPerformanceMarks: marks } = globalThis as unknown as {
    MonacoPerformanceMarks: { getMarks(): { name: string; startTime: number }[] };
  };
  const at = (edge: string) =>
    marks.getMarks().find(({ name }) => name === `code/extHost/${edge}${what}/${EXTENSION}`)?.startTime ?? NaN;
  return (at('did') - at('will')).toFixed(1);
}

export async function run(): Promise<void> {
  const extension = vscode.extensions.getExtension(EXTENSION);
  assert.ok(extension, `${EXTENSION} is installed`);
  await extension.activate();
  console.log(`host: loaded in ${between('LoadExtensionCode')} ms, activated in ${between('ActivateExtension')} ms`);
  const listening = world.listen();
  const wanted = process.env['BRIDGE_IDE_TEST'] ?? '';
  let failed = 0;
  for (const [name, test] of Object.entries(TESTS).filter(([name]) => new RegExp(wanted).test(name))) {
    world.forget();
    const began = Date.now();
    try {
      await test().finally(world.stopAll);
      console.log(`host: ok ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`host: FAILED ${name}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  listening.dispose();
  assert.equal(failed, 0, `${failed} tests failed`);
}
