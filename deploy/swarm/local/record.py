"""What a run has found, printed as it comes, and kept for the report."""

import contextlib
import time


class Record:
    def __init__(self):
        self.restart()
        self.figures = []
        self.traffic = []
        self.failures = []
        self.failed = []
        self.unjudged = []

    def restart(self):
        """The time from which `elapsed` counts."""
        self.began = time.monotonic()

    def elapsed(self):
        return time.monotonic() - self.began

    def line(self, kind, text):
        print(f"{self.elapsed():5.1f} s  {kind:<4}  {text}", flush=True)

    def note(self, text):
        self.line("", text)

    def measured(self, what, seconds):
        self.figures.append((what, seconds))
        self.note(f"{what}: {seconds:.1f} s")

    @contextlib.contextmanager
    def measure(self, what):
        before = time.monotonic()
        yield
        self.measured(what, time.monotonic() - before)

    def check(self, text, holds):
        if not holds:
            self.failed.append(text)
        self.line("ok" if holds else "FAIL", text)

    def not_judged(self, text):
        self.unjudged.append(text)
        self.line("?", text)

    def failure(self, text):
        """Of a request, whether or not it was allowed to fail."""
        self.failures.append(text)
        self.note(text)

    def requests(self, step, traffic):
        sent, failed, slow, slowest_ms = len(traffic.requests), len(traffic.failures), traffic.slow(), max(traffic.requests)
        self.traffic.append((step, sent, failed, slow, slowest_ms))
        self.note(f"{step}: {sent} reads, {failed} failed, {slow} took more than 200 ms, the slowest {slowest_ms:.0f} ms")
