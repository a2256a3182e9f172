"""Waits for a condition with a time limit, in place of a sleep."""

import time

from process import Failed


class Late(Failed):
    """A condition that was not met in time."""


def until(what, condition, limit, every=0.1):
    """Calls `condition` until it returns something true, and returns that. Times are in seconds."""
    end = time.monotonic() + limit
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() >= end:
            raise Late(f"not within {limit:.0f} s: {what}")
        time.sleep(every)
