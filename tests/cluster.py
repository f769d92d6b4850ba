"""Where real processes on loopback meet that train together."""

import json
import socket


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return hosts


def tf_config(hosts, index, job="worker"):
    task = {"type": job, "index": index}
    return json.dumps({"cluster": {"worker": hosts}, "task": task})
