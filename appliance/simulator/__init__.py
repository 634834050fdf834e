"""A line to demo, teach and test with: boards, defects, lamp and lens, conveyor, data sets."""
