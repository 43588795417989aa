// Starts the server as a child, as cluster managers and hot reloaders do.
require('node:child_process').fork(require.resolve('./server.js'), { stdio: 'inherit' });
