"""A candidate's process that loads well, and reads where there is nothing at the first part."""

import ctypes
import json
import os
import sys


def main() -> None:
    requests, answers = (int(each) for each in sys.argv[1:3])
    with os.fdopen(requests, "rb") as lines:
        lines.readline()
        os.write(answers, json.dumps({"ready": {"revision": 3}}).encode() + b"\n")
        lines.readline()
        ctypes.string_at(0)


if __name__ == "__main__":
    main()
