"""Shared sight: face detection and landmarks, alignment, descriptors, quality, pose, SAVP maps, drawing."""
