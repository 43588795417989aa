// Starts code-server and Chromium, each with a home of its own, and ends them.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';

const made = process.env.BRIDGE_IDE;
const { chromium } = createRequire(`${made}/server/`)('playwright-core');
const entry = `${made}/server/node_modules/code-server/out/node/entry.js`;

const SETTINGS = {
  'workbench.startupEditor': 'none',
  'workbench.colorTheme': 'Default Dark Modern',
  'debug.openDebug': 'openOnDebugBreak',
  'debug.internalConsoleOptions': 'openOnSessionStart',
  'editor.minimap.enabled': false,
  'git.enabled': false,
  'remote.autoForwardPorts': false,
  'telemetry.telemetryLevel': 'off',
  'window.commandCenter': false,
  'chat.commandCenter.enabled': false,
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
};

/** Runs a command of code-server to its end, or the server: resolves with its address. */
export async function serve({ folder, extensions, options = [] }) {
  const home = await mkdtemp(path.join(process.env.TMPDIR, 'code-'));
  await mkdir(path.join(home, 'data/User'), { recursive: true });
  await writeFile(path.join(home, 'data/User/settings.json'), JSON.stringify(SETTINGS));
  const places = ['--config', `${home}/config.yaml`, '--user-data-dir', `${home}/data`, '--extensions-dir', `${home}/extensions`];
  const env = { ...process.env, EXTENSIONS_GALLERY: '{"serviceUrl":""}' };
  for (const extension of extensions) {
    await run([entry, ...places, '--install-extension', extension], env);
  }
  // It complains of files that no free build has; what it says matters only if it does not start.
  const log = openSync(path.join(home, 'server.log'), 'a');
  const args = ['--bind-addr', '127.0.0.1:0', '--auth', 'none', '--disable-telemetry', '--disable-update-check',
    '--disable-workspace-trust', '--disable-getting-started-override', '--reconnection-grace-time', '2', ...options];
  const child = spawn(process.execPath, [entry, ...places, ...args, folder], { env, stdio: ['ignore', 'pipe', log] });
  closeSync(log);
  const address = await new Promise((resolve, reject) => {
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      const found = /listening on (http:\S+)/.exec(line);
      if (found) resolve(found[1].replace(/\/$/, ''));
    });
    child.once('exit', async (code) => {
      const said = await readFile(path.join(home, 'server.log'), 'utf8');
      reject(new Error(`code-server ended with ${code}: ${said.slice(-2_000)}`));
    });
  });
  return { address, home, stop: () => ended(child) };
}

export async function browser() {
  const args = ['--no-sandbox', '--disable-dev-shm-usage'];
  return chromium.launch({ executablePath: '/usr/bin/chromium', headless: true, args });
}

function run(args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
    child.once('exit', (code) => (code === 0 ? resolve() : reject(new Error(`${args.join(' ')} ended with ${code}`))));
  });
}

function ended(child) {
  return new Promise((resolve) => {
    child.once('exit', resolve);
    child.kill('SIGTERM');
  });
}
