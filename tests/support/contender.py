"""A worker of the lease's tests, in a process of its own: does what its input says, line by line.

python contender.py STORE [BEAT [EXPIRY]]
"""

import random
import sys
import time

from results_schema import lease as leases
from results_schema.errors import MissingKey, Superseded
from results_schema.lease import Lease
from results_schema.store import Store, attach_store


def put(store: Store, lease: Lease, key: str, text: str) -> str:
    try:
        store.put(key, text.encode(), lease=lease)
    except Superseded:
        return "superseded"
    return "written"


def take_all(store: Store, items: list[str], start: float) -> list[str]:
    """Takes what it can from the moment `start` on; returns the items taken."""
    while time.time() < start:
        pass
    return [item for item in items if store.leases.take(item)]


def count(store: Store, item: str, key: str, rounds: int) -> tuple[int, int]:
    """Adds one to a counter so often, each time under the lease, and dawdles over it.

    Returns:
        How often it was added, and how often the lease was lost before it could be.
    """
    added = lost = 0
    while added < rounds:
        lease = store.leases.take(item)
        if lease is None:
            continue
        try:
            number = int(store.get(key))
        except MissingKey:
            number = 0
        if random.random() < 0.3:
            time.sleep(random.random() * 3 * leases.EXPIRY)
        if put(store, lease, key, str(number + 1)) == "written":
            added += 1
        else:
            lost += 1
        match random.randrange(3):
            case 0:
                lease.release()
            case 1:
                time.sleep(random.random() * 2 * leases.EXPIRY)
                lease.release()
            case _:
                pass  # as if the worker had died: whoever comes next has to take over
    return added, lost


def main() -> None:
    store = attach_store(sys.argv[1])
    leases.BEAT = float(sys.argv[2]) if len(sys.argv) > 2 else leases.BEAT
    leases.EXPIRY = float(sys.argv[3]) if len(sys.argv) > 3 else leases.EXPIRY
    lease = None
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["take", item]:
                lease = store.leases.take(item)
                answer = "taken" if lease else "held"
            case ["keep"]:
                assert lease
                answer = lease.__enter__().item
            case ["put", key, text]:
                assert lease
                answer = put(store, lease, key, text)
            case ["leave"]:
                assert lease
                answer = str(lease.__exit__())
            case ["race", start, *items]:
                answer = " ".join(take_all(store, items, float(start)))
            case ["count", item, key, rounds]:
                answer = "{} {}".format(*count(store, item, key, int(rounds)))
            case _:
                raise ValueError(line)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
