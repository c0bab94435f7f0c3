"""What the tools that recognise people share: the encoder, its calibration, the gallery, liveness first."""
