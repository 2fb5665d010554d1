"""Ask ``/ping`` every 10 ms until the pipe to this process is closed: ``python -m ... PORT``.

A process of its own, which nothing else keeps busy. It writes the seconds that each answer took.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PERIOD_SECONDS = 0.01
REQUEST = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def main(port: int) -> None:
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while not select.select([sys.stdin], [], [], 0)[0]:
            started_at = time.perf_counter()
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"\r\n\r\n{}"):
                # The server writes head and body apart, and the second after our acknowledgement.
                if hasattr(socket, "TCP_QUICKACK"):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                answer += connection.recv(4096)
            seconds.append(time.perf_counter() - started_at)
            time.sleep(PERIOD_SECONDS)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]))
