"""A client in Python: client.py KIND HOST:PORT… prints "HOST:PORT ANSWER" for each. PATIENCE: for how many seconds it
waits for one."""

import asyncio
import os
import sys

PATIENCE = int(os.environ.get("PATIENCE", 10))

# The libraries are imported by who needs them: each takes a while.


def by_requests(host, port):
    import requests

    return requests.get(f"http://{host}:{port}/whoami", timeout=PATIENCE).text


def by_aiohttp(host, port):
    import aiohttp

    async def ask():
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(f"http://{host}:{port}/whoami") as answer:
                return await answer.text()

    return asyncio.run(ask())


def by_dnspython(tcp):
    def ask(host, _port):
        import dns.resolver

        # A short name is asked for as it is, too.
        found = dns.resolver.resolve(host, "A", tcp=tcp, lifetime=PATIENCE)
        return " ".join(record.address for record in found)

    return ask


def by_grpcio(resolver):
    def ask(host, port):
        os.environ["GRPC_DNS_RESOLVER"] = resolver
        import grpc
        import prices_pb2
        import prices_pb2_grpc

        with grpc.insecure_channel(f"{host}:{port}") as channel:
            prices = prices_pb2_grpc.PricesStub(channel)
            return prices.Get(prices_pb2.GetRequest(item="tea"), timeout=PATIENCE).answered_by

    return ask


KINDS = {
    "requests": by_requests,
    "aiohttp": by_aiohttp,
    "dnspython": by_dnspython(tcp=False),
    "dnspython-tcp": by_dnspython(tcp=True),
    "grpcio-ares": by_grpcio("ares"),
    "grpcio-native": by_grpcio("native"),
}


def main(kind, places):
    for at in places:
        try:
            answer = KINDS[kind](*at.split(":")).strip()
        except Exception as error:  # Whatever it is, it is to be printed.
            answer = f"error: {type(error).__name__}: {' '.join(str(error).split())}"
        print(at, answer, flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: client.py {'|'.join(KINDS)} HOST:PORT…")
    main(sys.argv[1], sys.argv[2:])
