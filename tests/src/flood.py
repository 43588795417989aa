# flood.py PORT KIND: what a stranger without the key can send to an agent's control port, as HTTP/2 (RFC 9113).
# Goes on until nothing more is taken, or 5 s are over; prints how much was sent on how many connections.
import socket
import struct
import sys
import time

port, kind = int(sys.argv[1]), sys.argv[2]
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_HEADERS = 4
MIB = 1 << 20


def frame(type, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", type, flags, stream) + payload


def text(value):
    return bytes([len(value)]) + value.encode()


# RFC 7541: POST, http, and literals that are not indexed.
HEAD = b"\x83\x86\x04" + text("/bridge.v1.Agent/Open") + b"\x01" + text("agent") + b"\x0f\x10" + text("application/grpc")
# The begin of a message of 4 MiB.
UNFINISHED = struct.pack(">BI", 0, 4 * MIB) + b"\1" * 16000


def unfinished(stream):
    return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(DATA, 0, stream, UNFINISHED)


def reset(stream):
    return frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def endless_head(stream):
    begun = frame(HEADERS, 0, 1, HEAD) if stream == 1 else b""
    return begun + frame(CONTINUATION, 0, 1, b"\0" + text("x" * 60) + text("y" * 60)) * 100


def pings(_):
    return frame(PING, 0, 0, b"stranger") * 100


def settings(_):
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, MIB) * 100)


def silent(_):
    return None


FLOODS = {"unfinished": unfinished, "reset": reset, "head": endless_head, "pings": pings, "settings": settings, "silent": silent}
flood, connections = FLOODS[kind], 300 if kind == "silent" else 8

until = time.monotonic() + 5
sent, opened, open_ones = 0, 0, []
for _ in range(connections):
    try:
        open_ones.append(socket.create_connection(("127.0.0.1", port), timeout=2))
    except OSError:
        break
    opened += 1
    try:
        if kind != "silent":
            open_ones[-1].sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
    except OSError:
        pass

streams = iter(range(1, 1 << 31, 2))
while open_ones and time.monotonic() < until:
    payload = flood(next(streams))
    if payload is None:
        time.sleep(0.1)
        continue
    for connection in list(open_ones):
        try:
            connection.sendall(payload)
            sent += len(payload)
        except OSError:
            connection.close()
            open_ones.remove(connection)
print(f"{kind}: {sent} bytes on {opened} connections, {len(open_ones)} open at the end")
