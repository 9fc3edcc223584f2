"""Runs a program, and sees that all of it is gone at the end: `python guard.py GRACE PROGRAM ARGUMENT...`.

A program of its own, with nothing of hpo4dl and little of Python, so that it starts at once. Its standard input is a
lifeline: it ends when whoever started this program closes it, or dies, however that comes about. Then the program's
process group gets SIGTERM, and after GRACE seconds whatever is left of it SIGKILL; so does what a program leaves behind
that ends by itself. On Linux that includes processes that left the group, such as those of torchrun.

The exit status is the program's; that of a signal is 128 and its number, as shells have it; 127: no such program.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
LEFT_BEHIND = 1.0
"""Seconds that what a program leaves behind has to end by itself after SIGTERM."""
UNKILLABLE = 10.0
"""Seconds to wait for what SIGKILL does not end, such as a process that hangs in a driver."""
TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals to this process that mean the same as the end of its lifeline."""


def main(grace: float, command: list[str]) -> int:
    """Run the program to its end, or to that of the lifeline; return the exit status, as shells have it."""
    with suppress(OSError, AttributeError):  # not on this system: then processes that leave the group are not seen
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, *TOLD):
        signal.signal(number, lambda number, frame: None)
    try:
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f'no such program: {command[0]}: {error.strerror}', file=sys.stderr)
        return 127
    ended: dict[int, int] = {}
    lifeline, end = [0], None
    while program.pid not in ended and (end is None or time.monotonic() < end):
        left = None if end is None else max(0.0, end - time.monotonic())
        ready, _, _ = select.select([woken, *lifeline], [], [], left)
        received = os.read(woken, 1000) if woken in ready else b''
        if end is None and (0 in ready or any(number in received for number in TOLD)):
            lifeline, end = [], time.monotonic() + grace
            with suppress(OSError):
                os.killpg(program.pid, signal.SIGTERM)
        reap(ended)
    last = end or time.monotonic() + LEFT_BEHIND
    sent = int(signal.SIGTERM if program.pid in ended else signal.SIGKILL)
    while end_descendants(program.pid, sent) and time.monotonic() < last + UNKILLABLE:
        time.sleep(0.02)
        reap(ended)
        sent = signal.SIGKILL if time.monotonic() >= last else 0
    reap(ended)
    status = ended.get(program.pid, -signal.SIGKILL)
    return status if status >= 0 else 128 - status


def reap(ended: dict[int, int]) -> None:
    """Take note of the children that have ended, those that others left to us among them."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ended[pid] = os.waitstatus_to_exitcode(status)


def end_descendants(group: int, number: int) -> bool:
    """Send a signal (0: none) to all that is left; return whether there was something."""
    left = descendants()
    for pid in left:
        with suppress(OSError):
            os.kill(pid, number)
    if left:
        return True
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


def descendants() -> list[int]:
    """Return all processes below this one, where /proc tells them."""
    parents: dict[int, int] = {}
    with suppress(OSError):
        for name in os.listdir('/proc'):
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError), open(f'/proc/{name}/stat', 'rb') as file:
                    parents[int(name)] = int(file.read().rpartition(b')')[2].split()[1])
    found = {os.getpid()}
    before = 0
    while len(found) > before:
        before = len(found)
        found.update(pid for pid, parent in parents.items() if parent in found)
    return sorted(found - {os.getpid()})


if __name__ == '__main__':
    code = main(float(sys.argv[1]), sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)
