// `orders` of the sample application, as a developer changes it.
const http = require('node:http');

const port = Number(process.env.PORT ?? 8080);

function answer(request) {
  const greeting = process.env.GREETING;
  const found = { service: 'orders', by: 'laptop', path: request.url, greeting };
  return JSON.stringify(found);
}

const server = http.createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(answer(request));
});
server.listen(port, () => console.log(`listens on ${port}`));
