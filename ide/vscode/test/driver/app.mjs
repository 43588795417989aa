// An application of two origins, as it is deployed behind an ingress: app.mjs shop|login PORT. `shop` needs the cookie that
// `login` sets for both.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const [part, port] = process.argv.slice(2);
const SHOP = 'https://shop.example.com';
const LOGIN = 'https://login.example.com';
let version = 1;
let reloads = [];
const seen = [];

const page = (user) => `<!doctype html>
<title>shop</title>
<h1>Welcome, <span id="user">${user}</span></h1>
<p>version <span id="version">${version}</span>, socket <span id="socket"></span>, login says <span id="login"></span></p>
<script>
const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
socket.onopen = () => socket.send('hi');
socket.onmessage = ({ data }) => (document.getElementById('socket').textContent = data);
new EventSource('/changes').onmessage = () => location.reload();
fetch(location.origin.replace('//shop.', '//login.') + '/whoami', { credentials: 'include' })
  .then((answer) => answer.text())
  .then((text) => (document.getElementById('login').textContent = text))
  .catch((error) => (document.getElementById('login').textContent = String(error)));
</script>`;

const userOf = (request) => /(?:^|; )session=(\w+)/.exec(request.headers.cookie ?? '')?.[1];

function shop(request, response) {
  const user = userOf(request);
  if (request.url === '/seen') return response.end(JSON.stringify(seen));
  if (request.url === '/edit') {
    version += 1;
    for (const reload of reloads) reload.write('data: changed\n\n');
    return response.end('edited');
  }
  seen.push({ path: request.url, user, host: request.headers.host, baggage: request.headers.baggage });
  if (request.url === '/changes') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': begins\n\n');
    reloads.push(response);
    return request.once('close', () => (reloads = reloads.filter((one) => one !== response)));
  }
  if (!user) {
    response.writeHead(302, { location: `${LOGIN}/login?back=${encodeURIComponent(`${SHOP}/`)}` });
    return response.end();
  }
  response.setHeader('content-type', 'text/html');
  return response.end(page(user));
}

function login(request, response) {
  const url = new URL(request.url, LOGIN);
  if (url.pathname === '/whoami') {
    // Of the real origin, as it knows no other.
    if (request.headers.origin === SHOP) {
      response.setHeader('access-control-allow-origin', SHOP);
      response.setHeader('access-control-allow-credentials', 'true');
    }
    return response.end(userOf(request) ?? 'nobody');
  }
  if (request.method === 'POST') {
    const cookie = 'session=alice; Domain=.example.com; Path=/; Secure; HttpOnly; SameSite=None';
    response.writeHead(303, { 'set-cookie': cookie, location: url.searchParams.get('back') });
    return response.end();
  }
  response.setHeader('content-type', 'text/html');
  return response.end('<!doctype html><title>login</title><form method="post"><button id="enter">Log in</button></form>');
}

/** RFC 6455: answers the first text with itself. */
function socket(request, stream) {
  const magic = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + magic).digest('base64');
  stream.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  stream.on('error', () => undefined).once('data', (frame) => {
    const mask = frame.subarray(2, 6);
    const text = frame.subarray(6, 6 + (frame[1] & 0x7f)).map((byte, at) => byte ^ mask[at % 4]);
    stream.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
  });
}

const server = createServer(part === 'shop' ? shop : login);
server.on('upgrade', socket);
server.listen(Number(port), () => console.log(`${part} listens on ${port}`));
