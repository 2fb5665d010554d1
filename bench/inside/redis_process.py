"""Run a Redis of our own until standard input ends; print its URL, or ``null``."""

from __future__ import annotations

import json
import sys

from project.demo.redis_server import NoRedis, redis_server


def main() -> None:
    try:
        with redis_server() as server:
            print(json.dumps({"url": server.url, "version": server.version}), flush=True)
            sys.stdin.read()
    except NoRedis:
        print(json.dumps(None), flush=True)


if __name__ == "__main__":
    main()
