import assert from 'node:assert/strict';
import { test } from 'node:test';

import { namesIn, opened, placeOf, startsSomething } from '../../src/launch/debuggers.ts';

test('the shim takes the place of what each type of debugger starts', () => {
  const cases: [string, Record<string, unknown>, string[], Record<string, unknown>][] = [
    ['pwa-node', {}, ['node'], { runtimeExecutable: '/s' }],
    ['node', { runtimeExecutable: 'npm' }, ['npm'], { runtimeExecutable: '/s' }],
    ['debugpy', { python: ['/venv/bin/python', '-u'] }, ['/venv/bin/python', '-u'], { python: '/s' }],
    ['go', { dlvToolPath: '/go/bin/dlv' }, ['/go/bin/dlv'], { dlvToolPath: '/s' }],
    ['cppdbg', {}, ['gdb'], { miDebuggerPath: '/s' }],
    ['java', { javaExec: '/jdk/bin/java' }, ['/jdk/bin/java'], { javaExec: '/s' }],
    ['node-terminal', { command: "echo 'a b'" }, ['sh'], { command: `'/s' -c 'echo '\\''a b'\\'''` }],
  ];
  for (const [type, attributes, program, changed] of cases) {
    const place = placeOf({ type, request: 'launch', ...attributes });
    assert.deepEqual(place?.program, program, type);
    assert.deepEqual(place?.with('/s'), changed, type);
  }
  assert.equal(placeOf({ type: 'unheard-of', request: 'launch' }), undefined);
});

test('an attach and a child of another session start nothing', () => {
  assert.ok(startsSomething({ type: 'node', request: 'launch' }));
  assert.ok(!startsSomething({ type: 'node', request: 'attach' }));
  assert.ok(!startsSomething({ type: 'pwa-node', request: 'launch', __pendingTargetId: 'x' }));
});

test('the names of an .env file are known', () => {
  assert.deepEqual(namesIn('# comment\nA=1\n export B_2 = x\n\nnot a line\nC.d="e=f"\n'), ['A', 'B_2', 'C.d']);
});

test('a browser opens the same path of the Service', () => {
  assert.equal(opened({ type: 'chrome', request: 'launch', url: 'http://localhost:3000/a?b=c#d' }), '/a?b=c#d');
  assert.equal(opened({ type: 'pwa-msedge', request: 'launch' }), '/');
  assert.equal(opened({ type: 'node', request: 'launch', url: 'http://localhost/' }), undefined);
});
