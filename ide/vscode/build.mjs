// Bundles the extension, and with --tests what runs inside the extension host.
import { build } from 'esbuild';

const usual = { bundle: true, platform: 'node', target: 'node20', format: 'cjs', external: ['vscode'], mainFields: ['module', 'main'] };

await build({ ...usual, entryPoints: ['src/extension.ts'], outdir: 'dist', minify: true });
if (process.argv.includes('--tests')) {
  const entryPoints = ['test/host/src/debuggers.ts', 'test/host/src/tests.ts', 'test/host/src/times.ts'];
  await build({ ...usual, entryPoints, outdir: 'test/host/dist', sourcemap: 'inline' });
}
