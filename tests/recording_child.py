"""A process that records as fast as it can and says what it was told is durable, until somebody kills it."""

import random
import sys
from datetime import timedelta
from pathlib import Path

from appliance.events import Verdict, utc_now
from tests.ledger_inspections import make_inspection, make_trigger, open_ledger


def main(path: Path, start: int) -> None:
    chance = random.Random(start)
    with open_ledger(path) as ledger:
        number = 0
        while True:
            trigger = make_trigger(f"start-{start}-part-{number}")
            ledger.accept(trigger)
            sys.stdout.write(f"accepted {trigger.trigger_id}\n")
            sys.stdout.flush()
            if chance.random() < 0.1:
                ledger.note_image(f"id-{start}-{number}", "top", f"{start}-{number}.png", "f" * 64, 1)
            if chance.random() < 0.95:
                record = ledger.record(make_inspection(trigger, chance.choice(list(Verdict))))
                sys.stdout.write(f"recorded {trigger.trigger_id} {record.seq} {record.record_hash}\n")
                sys.stdout.flush()
                if chance.random() < 0.3:
                    ledger.acknowledge("plant", record.seq)
                    sys.stdout.write(f"acknowledged {record.seq}\n")
            if chance.random() < 0.01:
                ledger.purge(utc_now() - timedelta(seconds=2))
            number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
