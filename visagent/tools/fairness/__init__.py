"""Does the matcher treat groups alike? What the calibration measured for each group."""
