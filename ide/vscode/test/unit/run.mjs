// Bundles the unit tests and runs them: node test/unit/run.mjs [FILE…].
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';

const here = import.meta.dirname;
const wanted = process.argv.slice(2);
const files = readdirSync(here).filter((file) => file.endsWith('.test.ts') && (wanted.length === 0 || wanted.includes(file)));
const outdir = mkdtempSync(path.join(tmpdir(), 'bridge-vscode-tests-'));
try {
  const entryPoints = files.map((file) => path.join(here, file));
  await build({ entryPoints, outdir, bundle: true, platform: 'node', format: 'cjs', mainFields: ['module', 'main'], sourcemap: 'inline' });
  const built = files.map((file) => path.join(outdir, file.replace(/ts$/, 'js')));
  process.exitCode = spawnSync(process.execPath, ['--test', '--enable-source-maps', ...built], { stdio: 'inherit' }).status ?? 1;
} finally {
  rmSync(outdir, { recursive: true });
}
