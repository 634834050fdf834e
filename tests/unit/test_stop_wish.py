"""StopWish: a signal's handler may make it, whatever the thread is doing."""

import subprocess
import sys
import threading

from appliance.stop_wish import StopWish

SIGNALLED = """
import signal, threading
from appliance.stop_wish import StopWish
for number in range(3000):
    wish = {made}()
    signal.signal(signal.SIGALRM, lambda *_: wish.set())
    signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 100 * 1e-6)
    while not wish.wait(0):
        pass
"""

TAKEN_BY_ANOTHER_THREAD = """
import signal, threading
from appliance.stop_wish import StopWish
wish = StopWish()
signal.signal(signal.SIGTERM, lambda *_: wish.set())
def take_it():
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Timer(0.2, take_it).start()
wish.wait()
"""


def test_a_handler_may_make_it_within_a_wait_for_it() -> None:
    subprocess.run([sys.executable, "-c", SIGNALLED.format(made="StopWish")], check=True, timeout=60)


def test_a_signal_that_does_not_wake_the_main_thread_ends_its_wait_all_the_same() -> None:
    subprocess.run([sys.executable, "-c", TAKEN_BY_ANOTHER_THREAD], check=True, timeout=20)


def test_everybody_who_waits_is_told() -> None:
    wish, told = StopWish(), []
    threads = [threading.Thread(target=lambda: told.append(wish.wait(30))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert not wish.is_set()
    wish.set()
    for thread in threads:
        thread.join(30)
    assert told == [True] * 4
    assert wish.is_set()
    assert wish.wait(0)


def test_a_wait_ends_with_its_time() -> None:
    assert not StopWish().wait(0.001)
    assert not StopWish().wait(-1)
