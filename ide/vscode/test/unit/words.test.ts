import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { Service, Session } from '../../src/documents.ts';
import { statusText, summary } from '../../src/view/words.ts';

const service: Service = {
  name: 'orders',
  ports: ['80 (http)'],
  workloads: ['Deployment orders'],
  mode: 'stand-in',
  obstacles: [],
  sessions: [],
};
const session = (change: Partial<Session>): Session => ({
  id: 'a',
  user: 'alice',
  target: 'orders',
  namespace: 'shop',
  context: 'dev',
  state: 'routing',
  detail: '',
  mode: 'stand-in',
  routes: [],
  requests: { toLaptop: { count: 12, failed: 0, p50Ms: 3.14 }, toOrigin: { count: 40, failed: 0, p50Ms: 1 } },
  ...change,
});

test('a Service is summed up in a line', () => {
  const claims = ['alice', 'bob'].map((user) => ({ user, matches: [`x-bridge: ${user}`] }));
  const rate = { laptop: 3.456, origin: 120.4 };
  const cases: [string, string][] = [
    [summary(service, undefined, undefined), 'stand-in'],
    [summary({ ...service, sessions: claims }, session({}), rate), 'stand-in · you, bob · 3.5/s to you, 120/s to the pods'],
    [summary(service, session({ state: 'led-back' }), undefined), 'stand-in · led-back · you'],
    [summary({ ...service, mode: null, obstacles: [{ short: 'headless', detail: '' }] }, undefined, undefined), 'headless'],
  ];
  for (const [said, expected] of cases) {
    assert.equal(said, expected);
  }
});

test('the status bar says what is connected, and whether it works', () => {
  const broken = session({ target: 'deploy/worker', state: 'reconnecting' });
  assert.equal(statusText([session({})], []), '$(plug) orders: 12, 3.1 ms');
  assert.equal(statusText([session({}), broken], [broken]), '$(warning) orders, worker reconnecting: 24, 3.1 ms');
});
