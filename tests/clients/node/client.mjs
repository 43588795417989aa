// A client in Node: client.mjs KIND HOST:PORT… prints "HOST:PORT ANSWER" for each. PATIENCE: for how many seconds it
// waits for one.

import dgram from "node:dgram";
import dns from "node:dns/promises";
import http from "node:http";
import { text } from "node:stream/consumers";

const patience = Number(process.env.PATIENCE ?? 10) * 1000;

const kinds = {
  async fetch(host, port) {
    const answer = await fetch(`http://${host}:${port}/whoami`, { signal: AbortSignal.timeout(patience) });
    return answer.text();
  },

  http(host, port) {
    return new Promise((resolve, reject) => {
      const options = { host, port, path: "/whoami", agent: false, signal: AbortSignal.timeout(patience) };
      http.get(options, (answer) => resolve(text(answer))).on("error", reject);
    });
  },

  // The resolver beside libc's.
  async "c-ares"(host) {
    return (await dns.resolve4(host)).join(" ");
  },

  async dgram(host, port) {
    const { address } = await dns.lookup(host);
    const socket = dgram.createSocket("udp4");
    try {
      return await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error("no answer")), patience);
        socket.on("error", reject);
        socket.on("message", (message, from) => {
          clearTimeout(late);
          if (from.address === address && from.port === Number(port)) resolve(message.toString());
          else reject(new Error(`answered by ${from.address}:${from.port}`));
        });
        socket.send("hello", port, address, (error) => error && reject(error));
      });
    } finally {
      socket.close();
    }
  },
};

// What a program prints that prints an error: itself and what it was caused by.
const told = (error) => (error.cause ? `${error}: ${told(error.cause)}` : String(error));

const [kind, ...places] = process.argv.slice(2);
if (!(kind in kinds) || places.length === 0) {
  console.error("usage: client.mjs fetch|http|c-ares|dgram HOST:PORT…");
  process.exit(2);
}
for (const at of places) {
  const answer = await kinds[kind](...at.split(":")).catch((error) => `error: ${told(error)}`);
  console.log(at, answer.trim());
}
