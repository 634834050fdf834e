"""Train, evaluate and export the detector that the appliance runs."""
