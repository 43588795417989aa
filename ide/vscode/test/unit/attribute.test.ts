import assert from 'node:assert/strict';
import { test } from 'node:test';

import { runOptions, wishOf } from '../../src/launch/attribute.ts';

test('the attribute means options of bridge run', () => {
  const cases: [unknown, string[]][] = [
    ['orders', ['orders']],
    [{ target: 'deploy/worker', noRequests: true }, ['deploy/worker', '--no-requests']],
    [
      { target: 'orders', namespace: 'shop', context: 'dev', ports: [3000, '9090:metrics'] },
      ['orders', '--context=dev', '--namespace=shop', '--port=3000', '--port=9090:metrics'],
    ],
    [
      { target: 'orders', header: ['a=1', 'b=2'], path: '^=/v1/', method: 'GET', everything: false },
      ['orders', '--header=a=1', '--header=b=2', '--path=^=/v1/', '--method=GET'],
    ],
    [
      { target: 'orders', me: 'alice', mode: 'sidecar', files: 'none', fallback: 'origin', envExclude: 'OTEL_*' },
      ['orders', '--me=alice', '--mode=sidecar', '--files=none', '--fallback=origin', '--env-exclude=OTEL_*'],
    ],
    [{ target: 'orders', replace: true, copy: false }, ['orders', '--replace']],
  ];
  for (const [attribute, expected] of cases) {
    assert.deepEqual(runOptions(wishOf(attribute)), expected);
  }
  assert.deepEqual(wishOf({ target: 'orders', env: { A: 1 } }).env, { A: '1' });
  assert.equal(wishOf({ target: 'orders', network: false }).network, false);
});

test('what cannot be meant is a sentence', () => {
  const cases: [unknown, RegExp][] = [
    [1, /name of a Service/],
    [null, /name of a Service/],
    [['orders'], /name of a Service/],
    ['', /"target" of "bridge" is a text/],
    [{}, /has no "target"/],
    [{ target: '--everything' }, /is a name/],
    [{ target: 'orders', port: 3000 }, /no attribute "port"/],
    [{ target: 'orders', mode: 'magic' }, /one of stand-in, sidecar/],
    [{ target: 'orders', everything: 'yes' }, /true or false/],
    [{ target: 'orders', env: ['A=1'] }, /object with the names/],
    [{ target: 'orders', header: [''] }, /is a text/],
  ];
  for (const [attribute, expected] of cases) {
    assert.throws(() => wishOf(attribute), expected, JSON.stringify(attribute));
  }
});
