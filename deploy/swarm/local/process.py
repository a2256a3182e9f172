"""Commands of this machine and of Docker, each with a time limit: whatever hangs ends the run, which then says what hung."""

import subprocess


class Failed(Exception):
    """A command that failed, or had no answer in time. The text is the message for the user."""


def run(*command, limit=20.0, text=None, env=None):
    """Runs `command`, gives it `text` on its standard input, and returns its standard output. `limit` is in seconds."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=limit,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer within {limit:.0f} s: {shown}") from None
    except OSError as error:
        raise Failed(f"{shown}: {error.strerror}") from None
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failed(f"{shown}: {' / '.join(lines[-3:]) or f'exit code {done.returncode}'}")
    return done.stdout.strip()
