"""The release format that trainer, calibration and appliance share."""
