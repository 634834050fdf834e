"""`python -m appliance.simulator DIR ...`: the same as `appliance simulate`."""

import argparse
import sys

from appliance.errors import ConfigError
from appliance.simulator.command import add_arguments, execute

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="appliance simulate", description="Write a data set of simulated boards.")
    add_arguments(parser)
    try:
        sys.exit(execute(parser.parse_args()))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(78)
