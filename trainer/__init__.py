"""Train, evaluate and export the detector that the appliance runs."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer release
