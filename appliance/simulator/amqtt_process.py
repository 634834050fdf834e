"""Runs the amqtt broker until it is killed, or until whoever started it is gone: python amqtt_process.py PORT."""

import asyncio
import sys
from typing import Any


async def serve(port: int) -> None:
    """Serve MQTT 3.1.1 on the loopback until standard input ends.

    Args:
        port: TCP port.
    """
    from amqtt.broker import Broker

    config: dict[str, Any] = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
