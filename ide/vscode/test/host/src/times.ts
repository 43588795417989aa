// From F5 to the program's first line, without bridge and with it: the medians of ten, in one run.

import * as assert from 'node:assert/strict';
import * as vscode from 'vscode';

import * as world from './world.ts';

const TIMES = 10;
const node = { name: 'orders', type: 'node', request: 'launch', program: '${workspaceFolder}/first.js' };

async function once(configuration: vscode.DebugConfiguration): Promise<number> {
  world.forget();
  const began = performance.now();
  assert.ok(await vscode.debug.startDebugging(world.folder(), configuration));
  await world.prints(`in the place of ${configuration['bridge'] ?? 'nobody'}`);
  const took = performance.now() - began;
  await vscode.debug.stopDebugging();
  return took;
}

async function nothingConnected(): Promise<void> {
  await world.eventually('nothing is connected', async () => ((await world.sessions()).length === 0 ? true : undefined));
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? NaN;
}

export async function run(): Promise<void> {
  const listening = world.listen();
  const times: Record<string, number[]> = { alone: [], 'not connected before': [], connected: [] };
  // The first start of a debugger loads it.
  await once(node);
  for (let round = 0; round < TIMES; round += 1) {
    times['alone']?.push(await once(node));
    times['not connected before']?.push(await once({ ...node, bridge: 'orders' }));
    await nothingConnected();
  }
  await world.bridge('connect', 'orders');
  for (let round = 0; round < TIMES; round += 1) {
    times['connected']?.push(await once({ ...node, bridge: 'orders' }));
  }
  await world.bridge('disconnect', 'orders');
  const alone = median(times['alone'] ?? []);
  for (const [what, each] of Object.entries(times)) {
    const [took, spread] = [median(each), `${Math.min(...each).toFixed(0)} to ${Math.max(...each).toFixed(0)}`];
    console.log(`host: ${what.padEnd(22)} ${took.toFixed(0).padStart(6)} ms (${spread}), ${(took - alone).toFixed(0)} ms more`);
  }
  listening.dispose();
}
