import assert from 'node:assert/strict';
import { test } from 'node:test';

import { configurations, withAttribute, withConfiguration } from '../../src/launch/file.ts';

const TEXT = `{
  // kept
  "configurations": [
    { "name": "a", "type": "node", "request": "launch" }, // kept, too
    { "name": "b", "type": "node", "request": "attach", "bridge": { "target": "orders" } },
  ]
}
`;

test('configurations are found, with comments and trailing commas', () => {
  const found = configurations(TEXT).map(({ name, request, target }) => [name, request, target]);
  assert.deepEqual(found, [
    ['a', 'launch', undefined],
    ['b', 'attach', 'orders'],
  ]);
  assert.deepEqual(configurations(''), []);
  assert.deepEqual(configurations('{"configurations": 1}'), []);
});

test('the attribute is put in, and the rest stays', () => {
  const changed = withAttribute(TEXT, 0, 'orders');
  assert.equal(configurations(changed)[0]?.target, 'orders');
  assert.match(changed, /\/\/ kept\n[^]*\/\/ kept, too/);
  const again = withAttribute(changed, 0, { target: 'web', ports: [3000] });
  assert.equal(configurations(again)[0]?.target, 'web');
});

test('a configuration can be added where there is none', () => {
  const made = withConfiguration('', { name: 'npm run start', request: 'launch', bridge: 'orders' });
  assert.deepEqual(configurations(made).map(({ name, target }) => [name, target]), [['npm run start', 'orders']]);
});
