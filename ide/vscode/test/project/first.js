// Says at once in whose place it runs, and stays.
console.log(`in the place of ${process.env.BRIDGE_TARGET ?? 'nobody'}`);
setInterval(() => undefined, 60_000);
