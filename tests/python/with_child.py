#!/usr/bin/env python3
"""The worker beside it, with a child that holds the link open for longer than the worker lives."""

import os
import time

import worker


def wait_for_gate():
    gates = os.environ["FIXTURE_GATES"]
    end = time.monotonic() + 30
    while os.path.isdir(gates) and time.monotonic() < end:
        if os.path.exists(os.path.join(gates, "children")):
            break
        time.sleep(0.02)


if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        # What it inherited of the links is open, and nothing else is.
        for stdio in range(3):
            os.close(stdio)
        wait_for_gate()
        os._exit(0)
    print(f"child {child}", flush=True)
    numbers = os.environ["SHOVEL_LINK_FDS"].split(",")
    worker.Worker([worker.Link(int(number)) for number in numbers]).run()
