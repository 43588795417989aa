"""Calls of all four kinds with grpcio, on one channel: calls.py ADDR CALLER… makes each kind of call as each of the
callers, all at a time, and prints KIND CALLER ANSWERED_BY for each, and at last how many connections there were."""

import os
import queue
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import prices_pb2 as pb
import prices_pb2_grpc

PATIENCE = 20  # seconds
MESSAGES = 5
SIGNATURE_IN = "x-answered-by"


class Unexpected(Exception):
    """An answer that is not the one that the call must have."""


# Each of these makes one call, and returns it with the names in its messages.


def unary(prices, **options):
    price, call = prices.Get.with_call(pb.GetRequest(item="tea"), **options)
    return call, [price.answered_by]


def server_streaming(prices, **options):
    call = prices.Watch(pb.WatchRequest(item="tea", count=MESSAGES, interval_ms=20), **options)
    names = [price.answered_by for price in call]
    if len(names) != MESSAGES:
        raise Unexpected(f"{len(names)} prices of {MESSAGES}")
    return call, names


def client_streaming(prices, **options):
    lines = (pb.Line(item="tea", quantity=1) for _ in range(MESSAGES))
    total, call = prices.Sum.with_call(lines, **options)
    if total.lines != MESSAGES:
        raise Unexpected(f"{total.lines} lines of {MESSAGES}")
    return call, [total.answered_by]


def bidirectional(prices, **options):
    said = queue.SimpleQueue()
    call = prices.Chat(iter(said.get, None), **options)
    names = []
    for i in range(MESSAGES):
        text = f"message {i}"
        said.put(pb.ChatMessage(text=text))
        reply = next(call, None)
        if reply is None or reply.text != text:
            raise Unexpected(f"{text!r} answered by {reply}")
        names.append(reply.answered_by)
    said.put(None)
    if extra := list(call):
        raise Unexpected(f"a reply to nothing: {extra}")
    return call, names


KINDS = {
    "unary": unary,
    "server-streaming": server_streaming,
    "client-streaming": client_streaming,
    "bidirectional": bidirectional,
}


def answered_by(kind, prices, caller):
    """Who answered a call, everyone if they were several, or why there was no answer."""
    try:
        call, names = KINDS[kind](prices, metadata=(("x-bridge", caller),), timeout=PATIENCE)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    except Unexpected as error:
        return str(error)
    names += signature(call.initial_metadata()) + signature(call.trailing_metadata())
    return " and ".join(sorted(set(names)))


def signature(metadata):
    return [value for name, value in metadata or () if name == SIGNATURE_IN] or ["(unsigned)"]


def local_ports(address):
    """The ports of this process' connections to an address: a channel does not say which it has."""
    ports = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            connection = socket.socket(fileno=int(number))
        except OSError:
            continue  # A file, or closed since.
        try:
            # grpcio's sockets are those of both families.
            host, port = connection.getpeername()[:2]
            if f"{host.removeprefix('::ffff:')}:{port}" == address:
                ports.add(connection.getsockname()[1])
        except (OSError, ValueError):
            pass  # Connected to nothing, or of another family.
        finally:
            connection.detach()
    return ports


def main(address, callers):
    connections = set()
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(len(callers)) as pool:
        prices = prices_pb2_grpc.PricesStub(channel)
        for kind in KINDS:
            answers = pool.map(lambda caller: answered_by(kind, prices, caller), callers)
            for caller, answer in zip(callers, answers):
                print(kind, caller, answer, flush=True)
            connections |= local_ports(address)
    print("connections", len(connections))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: calls.py ADDR CALLER…")
    main(sys.argv[1], sys.argv[2:])
