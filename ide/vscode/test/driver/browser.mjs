// A developer's way, with keyboard and mouse in a real browser: browser.mjs SCREENSHOTS FOLDER VSIX.
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import assert from 'node:assert/strict';
import { browser, serve } from './server.mjs';

const [screenshots, folder, vsix] = process.argv.slice(2);
/** Longer than anything takes on a busy machine. */
const USUAL_MS = 60_000;
const OTHERS = 20;

await mkdir(screenshots, { recursive: true });
const server = await serve({ folder, extensions: [vsix] });
const chromium = await browser();
const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
context.setDefaultTimeout(USUAL_MS);
let page = await context.newPage();
let step = 'the start';

function bridge(...args) {
  return new Promise((resolve, reject) => {
    execFile('bridge', [...args, '-o', 'json'], (error, stdout, stderr) =>
      error && stdout === '' ? reject(new Error(stderr)) : resolve(JSON.parse(stdout)),
    );
  });
}
const mine = (url, ...more) => bridge('call', 'orders', url, ...more);
const others = (url) => mine(url, '-H', 'baggage: bridge=bob', '-H', 'x-bridge: bob');
const sessions = async () => (await bridge('status')).sessions;

async function eventually(what, holds) {
  for (const began = Date.now(); !(await holds()); await new Promise((resolve) => setTimeout(resolve, 100))) {
    assert.ok(Date.now() - began < USUAL_MS, `expected: ${what}`);
  }
}

function begin(what) {
  step = what;
  console.log(`  ${what}`);
}
const shot = (name) => page.screenshot({ path: path.join(screenshots, `${name}.png`) });

async function command(title) {
  await page.keyboard.press('F1');
  const input = page.locator('.quick-input-widget:visible input').first();
  await input.fill(`>${title}`);
  await page.locator(`.quick-input-widget:visible .monaco-list-row[aria-label^="${title}"]`).first().click();
}
const row = (text) => page.locator('.quick-input-widget:visible .monaco-list-row', { hasText: text }).first();

async function opened(project = folder) {
  await page.goto(`${server.address}/?folder=${project}`);
  await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'server.js' }).click();
  await page.locator('.tab.active', { hasText: 'server.js' }).waitFor();
}

async function openFile(name) {
  await page.keyboard.press('Control+P');
  await page.locator('.quick-input-widget:visible input').first().fill(name);
  await row(name).click();
  await page.locator('.tab.active', { hasText: name }).waitFor();
}

async function toLine(line) {
  await page.keyboard.press('Control+G');
  await page.locator('.quick-input-widget:visible input').first().fill(`:${line}`);
  await page.keyboard.press('Enter');
  await page.locator('.statusbar-item', { hasText: `Ln ${line},` }).waitFor();
}

const console_ = (text) => page.locator('.repl .monaco-list-row', { hasText: text }).first();

/** The frame of the page of requests. */
async function requestsPage() {
  for (const frame of page.frames()) {
    if (await frame.locator('#rows').count().catch(() => 0)) return frame;
  }
  return undefined;
}

async function walk() {
  begin('A project with one launch configuration');
  await opened();
  await openFile('launch.json');
  await page.locator('.codelens-decoration', { hasText: 'Run this on the cluster' }).waitFor();
  await shot('1-launch-configuration');

  begin('Run this on the cluster: the Service');
  await page.locator('.codelens-decoration a', { hasText: 'Run this on the cluster' }).click();
  await row('orders').waitFor();
  await shot('2-choose-a-service');
  await row('orders').click();
  await page.locator('.quick-input-widget:visible', { hasText: 'The pods listen on' }).waitFor();
  await page.keyboard.press('Enter');
  await page.locator('.codelens-decoration', { hasText: 'in the place of orders' }).waitFor();
  await eventually('the attribute is in the file', async () => {
    const text = await readFile(path.join(folder, '.vscode/launch.json'), 'utf8');
    return text.includes('"bridge": "orders"') && text.includes('// Starts orders alone');
  });
  assert.equal(await page.locator('.squiggly-warning').count(), 0, 'the editor knows the attribute');
  await shot('3-attribute');

  begin('F5, and a request with my mark stops at the breakpoint');
  await openFile('server.js');
  await toLine(8);
  await page.keyboard.press('F9');
  await page.keyboard.press('F5');
  await console_('listens on 8080').waitFor();
  const call = mine('/v1/items?of=mine');
  await page.locator('.debug-top-stack-frame-line').first().waitFor();
  begin(`Meanwhile ${OTHERS} requests of others`);
  const answers = await Promise.all(Array.from({ length: OTHERS }, () => others('/whoami')));
  const byPods = answers.filter((answer) => answer.status === 200 && answer.answeredBy === 'origin').length;
  assert.equal(byPods, OTHERS, 'the pods answer others while mine stands at the breakpoint');
  console.log(`    ${byPods} of ${OTHERS} answered by the pods`);
  await page.locator('.debug-variables .monaco-list-row', { hasText: 'Local' }).first().waitFor();
  const greeting = page.locator('.debug-variables .monaco-list-row', { hasText: 'greeting' }).first();
  if (!(await greeting.isVisible())) {
    await page.locator('.debug-variables .monaco-list-row', { hasText: 'Local' }).first().click();
  }
  await page.locator('.debug-variables .monaco-list-row', { hasText: 'Welcome to the shop' }).first().waitFor();
  await shot('4-breakpoint');
  await page.keyboard.press('F5');
  assert.equal((await call).answeredBy, 'laptop');

  begin('Edit, restart, and again');
  await openFile('server.js');
  await toLine(8);
  await page.keyboard.press('F9');
  const text = await readFile(path.join(folder, 'server.js'), 'utf8');
  await writeFile(path.join(folder, 'server.js'), text.replace("by: 'laptop'", "by: 'edited'"));
  await page.keyboard.press('Control+Shift+F5');
  await eventually('the edited program answers', async () => {
    const answer = await mine('/').catch(() => undefined);
    return answer?.answeredBy === 'laptop' && answer.body.includes('edited');
  });

  begin('The requests, and why one did not arrive');
  await command('bridge: Show Requests');
  await eventually('the page of requests is there', async () => (await requestsPage()) !== undefined);
  const requests = await requestsPage();
  await mine('/v1/items');
  await mine('/v1/typo', '-H', 'baggage: bridge=alicia', '-H', 'x-bridge: alicia');
  await requests.locator('tr.to-laptop').first().waitFor();
  await requests.locator('tr.missed', { hasText: '/v1/typo' }).first().waitFor();
  await shot('5-requests');
  await command('bridge: Why Did My Request Not Arrive?');
  await requests.locator('#details', { hasText: 'alicia' }).waitFor();
  await shot('6-why');
  begin('By the keyboard alone');
  await requests.locator('#filters [data-filter="missed"]').focus();
  await page.keyboard.press('ArrowLeft');
  assert.equal(await requests.locator('[aria-checked="true"]').textContent(), 'Mine');
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.keyboard.press('ArrowDown');
  assert.equal(await requests.locator('tr[aria-selected="true"]').count(), 1, 'a row is chosen');
  await page.keyboard.press('Escape');
  assert.equal(await requests.locator('#details').isHidden(), true, 'its details are closed');

  begin('The Services, in three themes');
  await command('bridge: Focus on Services View');
  const services = page.locator('.pane-body .monaco-list-row');
  await services.filter({ hasText: 'orders' }).filter({ hasText: 'you' }).first().waitFor();
  await page.locator('.statusbar-item', { hasText: 'orders: ' }).first().waitFor();
  await page.locator('.pane-body .monaco-list-row', { hasText: 'bridge-ide-' }).first().waitFor();
  for (const [name, theme, class_] of [
    ['light', 'Light Modern', 'vs'],
    ['high-contrast', 'Dark High Contrast', 'hc-black'],
    ['dark', 'Dark Modern', 'vs-dark'],
  ]) {
    await setTheme(theme, class_);
    await shot(`7-services-${name}`);
  }

  begin('Stop: nothing stays connected');
  await stopped();
  await eventually('nothing is connected', async () => (await sessions()).length === 0);

  begin('Started again, and disconnected elsewhere: the window says so');
  await page.keyboard.press('F5');
  await console_('listens on 8080').waitFor();
  await bridge('disconnect', 'orders');
  await page.locator('.notification-toast', { hasText: 'has ended: it was disconnected' }).waitFor();
  await shot('8-disconnected');
  await stopped();

  begin('Started again, and the window is loaded again');
  await page.keyboard.press('F5');
  await eventually('it is connected', async () => (await sessions()).length === 1);
  await page.reload();
  await eventually('nothing is connected', async () => (await sessions()).length === 0);

  for (const [moment, came] of [
    ['it is connected', undefined],
    ['the program starts', './server.js'],
    ['the program runs', 'listens on 8080'],
  ]) {
    begin(`Started again, and the window is closed when ${moment}`);
    await started(came);
    await closed();
    await eventually('nothing is connected', async () => (await sessions()).length === 0);
    await anotherWindow();
  }

  begin('Two windows in the place of the same Service');
  await started('listens on 8080');
  const first = page;
  await anotherWindow(await anotherProject());
  await started('listens on 8090');
  assert.equal((await mine('/')).answeredBy, 'laptop');
  await shot('9-two-windows');
  await closed();
  await eventually('the first window answers', async () => (await programs()).length === 1);
  assert.equal((await sessions()).length, 1, 'the first window is still connected');
  assert.equal((await mine('/')).answeredBy, 'laptop');
  page = first;
  await closed();
  await eventually('nothing is connected', async () => (await sessions()).length === 0);
  assert.deepEqual(await programs(), []);
}

/** Debugs, with a session, until the debug console has the text. */
async function started(text) {
  // What the extension shows is there once debuggers are known, too.
  await page.locator('.pane-body .monaco-list-row', { hasText: 'orders' }).filter({ hasText: /stand-in|you/ }).first().waitFor();
  await command('Debug: Start Debugging');
  await eventually('it is connected', async () => (await sessions()).length === 1);
  if (text !== undefined) await console_(text).waitFor();
}

async function stopped() {
  await page.keyboard.press('Shift+F5');
  await page.locator('.debug-toolbar').waitFor({ state: 'hidden' });
}

/** As when the browser crashes: the page has no say in it. */
const closed = () => page.close({ runBeforeUnload: false });

async function anotherWindow(project) {
  page = await context.newPage();
  await opened(project);
  await command('bridge: Focus on Services View');
}

/** The same project, whose program listens on another port. */
async function anotherProject() {
  const project = `${folder}-too`;
  await cp(folder, project, { recursive: true });
  const file = path.join(project, '.vscode/launch.json');
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"bridge": "orders"', '"bridge": "orders", "env": { "PORT": "8090" }'));
  return project;
}

/** The ids of the debugged programs. */
function programs() {
  return new Promise((resolve) => {
    execFile('pgrep', ['-u', String(process.getuid()), '-f', '^[^ ]*/node [.]/server[.]js$'], (_error, stdout) =>
      resolve(stdout.split('\n').filter((id) => id !== '')),
    );
  });
}

async function setTheme(theme, class_) {
  await command('Preferences: Color Theme');
  await page.locator('.quick-input-widget:visible input').first().fill(theme);
  await page.locator(`.quick-input-widget:visible .monaco-list-row[aria-label^="${theme}"]`).first().click();
  await page.locator(`.monaco-workbench.${class_}`).waitFor();
}

try {
  await walk();
} catch (error) {
  console.log(`FAILED at: ${step}\n${error.stack}`);
  await shot('failed').catch(() => undefined);
  process.exitCode = 1;
} finally {
  await chromium.close();
  await server.stop();
}
