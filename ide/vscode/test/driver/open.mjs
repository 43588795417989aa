// `bridge open` in a real browser: an application of two origins as me, another profile, and a hostile page.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { browser } from './server.mjs';

const [screenshots] = process.argv.slice(2);
const app = path.join(import.meta.dirname, 'app.mjs');
/** Longer than anything takes on a busy machine. */
const USUAL_MS = 60_000;
const children = [];

/** Starts a program and resolves with its first line that fits. */
function starts(args, fits) {
  const child = spawn('bridge', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => fits.test(line) && resolve(line));
    child.once('exit', (code) => reject(new Error(`bridge ${args.join(' ')} ended with ${code}`)));
  });
}

const runs = (service, port, part) =>
  starts(['run', service, '--port', port, '--', process.execPath, app, part, port], /listens on/);

async function hostile(address) {
  const page = `<!doctype html><title>hostile</title><pre id="got"></pre><script>
const got = [];
const say = (what) => { got.push(what); document.getElementById('got').textContent = got.join('\\n'); };
(async () => {
  for (const options of [{ credentials: 'include' }, { credentials: 'include', mode: 'no-cors' }, { credentials: 'include', method: 'POST' }]) {
    const answer = await fetch('${address}/stolen', options).then((answer) => answer.text(), () => '');
    say('fetch: ' + answer);
  }
  await new Promise((over) => {
    const socket = new WebSocket('${address}'.replace('http', 'ws') + '/socket');
    socket.onopen = () => { say('socket: open'); over(); };
    socket.onerror = () => { say('socket: '); over(); };
  });
  say('done');
})();
</script>`;
  const server = createServer((_, response) => response.setHeader('content-type', 'text/html').end(page));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

async function walk(chromium) {
  const url = await starts(
    ['open', 'web', '--host', 'shop.example.com', '--also', 'login.example.com=orders', '--print'],
    /^http:/,
  );
  const { origin } = new URL(url);
  const me = await chromium.newContext();
  me.setDefaultTimeout(USUAL_MS);
  const page = await me.newPage();
  console.log('  log in at the other origin, and come back as me');
  await page.goto(url);
  await page.locator('#enter').click();
  await page.locator('#user', { hasText: 'alice' }).waitFor();
  assert.equal(new URL(page.url()).origin, origin, 'redirects stay on the loopback URL');
  console.log('  a WebSocket, and the other origin from a script');
  await page.locator('#socket', { hasText: 'hi' }).waitFor();
  await page.locator('#login', { hasText: 'alice' }).waitFor();
  await page.screenshot({ path: path.join(screenshots, 'open-1-me.png') });
  console.log('  hot reload');
  const edited = page.locator('#version', { hasText: '2' });
  await page.evaluate(() => fetch('/edit'));
  await edited.waitFor();

  console.log('  the marks, and the host');
  const seen = await page.evaluate(() => fetch('/seen').then((answer) => answer.json()));
  for (const request of seen) {
    assert.match(request.baggage ?? '', /(^|,)\s*bridge=alice/, JSON.stringify(request));
    assert.equal(request.host, 'shop.example.com');
  }

  console.log('  another profile is not me');
  const other = await (await chromium.newContext()).newPage();
  const answer = await other.goto(`${origin}/`);
  assert.equal(answer.status(), 403);
  await other.screenshot({ path: path.join(screenshots, 'open-2-another-profile.png') });

  console.log('  a hostile page gets nothing');
  const evil = await hostile(origin);
  for (const host of ['127.0.0.1', 'evil.example.com.localhost']) {
    const there = await me.newPage();
    await there.goto(`http://${host}:${evil.address().port}/`);
    await there.locator('#got', { hasText: 'done' }).waitFor();
    assert.equal(await there.locator('#got').textContent(), 'fetch: \nfetch: \nfetch: \nsocket: \ndone', host);
  }
  evil.close();
  const after = await page.evaluate(() => fetch('/seen').then((answer) => answer.json()));
  assert.ok(!after.some((request) => request.path === '/stolen'), 'nothing came to the application');
}

await mkdir(screenshots, { recursive: true });
const chromium = await browser();
try {
  await Promise.all([runs('web', '8081', 'shop'), runs('orders', '8082', 'login')]);
  await walk(chromium);
} catch (error) {
  console.log(`FAILED: ${error.stack}`);
  process.exitCode = 1;
} finally {
  await chromium.close();
  for (const child of children.reverse()) {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    if (child.exitCode === null && child.kill('SIGINT')) await ended;
  }
}
