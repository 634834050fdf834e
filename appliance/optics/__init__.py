"""From a view's pixels to what is seen on them: statistics, tiles, detections."""
