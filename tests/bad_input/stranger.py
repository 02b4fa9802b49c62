"""A stranger: connects to the ports that standard input names, and behaves badly in every way it knows.

Prints one line when it is done: how many connections it made. Knows nothing of the project but that a length may come early.
"""

from __future__ import annotations

import random
import socket
import struct
import sys

RNG = random.Random(7)
MESSAGES = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    bytes(100_000),
    b"\xff" * 100_000,
    *(struct.pack("<II", tag, length) for tag in (0, 1, 2, 0x48, 0xFFFFFFFF) for length in (0, 8, 64, 0x7FFFFFFF, 0xFFFFFFFF)),
    *(RNG.randbytes(RNG.randrange(1, 5000)) for _ in range(40)),
]


def dial(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=10.0)
    made.settimeout(0.005)
    return made


def say(to: socket.socket, message: bytes) -> None:
    try:
        to.sendall(message)
        to.recv(1000)
    except OSError:
        return  # dropped, or no answer: both are fine


def main(ports: list[int]) -> int:
    made = 0
    for port in ports:
        silent = [dial(port) for _ in range(20)]
        for message in MESSAGES:
            with dial(port) as link:
                say(link, message)
        with dial(port) as echo:  # answers with what it is told
            try:
                echo.sendall(echo.recv(1000))
                echo.sendall(echo.recv(1000))
            except OSError:
                pass
        made += len(silent) + len(MESSAGES) + 1
        for link in silent:
            link.close()
    return made


if __name__ == "__main__":
    print(main([int(port) for port in sys.stdin.readline().split()]), flush=True)
