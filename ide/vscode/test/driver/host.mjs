// Runs the tests inside an extension host: host.mjs FOLDER VSIX EXTENSION TESTS. Exits as they do.
import { browser, serve } from './server.mjs';

const [folder, vsix, extension, tests] = process.argv.slice(2);
/** All of them, on a busy machine. */
const WITHIN_MS = 600_000;

const server = await serve({ folder, extensions: [vsix], options: ['--vscode-option', 'enable-smoke-test-driver'] });
const chromium = await browser();
let code = 1;
try {
  const page = await chromium.newPage();
  const ended = new Promise((resolve) => {
    page.exposeFunction('codeAutomationExit', resolve).catch(resolve);
    setTimeout(() => resolve(`nothing within ${WITHIN_MS / 1000} s`), WITHIN_MS).unref();
  });
  await page.exposeFunction('codeAutomationLog', () => undefined);
  page.on('console', (message) => {
    if (message.text().includes('host: ')) console.log(message.text().replace(/^.*?host: /, '  '));
  });
  const at = `vscode-remote://${new URL(server.address).host}${extension}`;
  const payload = JSON.stringify([
    ['extensionDevelopmentPath', at],
    ['extensionTestsPath', `${at}/dist/${tests}.js`],
  ]);
  await page.goto(`${server.address}/?folder=${folder}&payload=${encodeURIComponent(payload)}`);
  code = await ended;
  if (code !== 0) console.log(`the extension host ended with ${code}`);
} finally {
  await chromium.close();
  await server.stop();
}
process.exitCode = code === 0 ? 0 : 1;
