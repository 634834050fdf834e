"""The demo: everything that a plant has around the appliance, on one machine."""
