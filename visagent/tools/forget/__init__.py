"""Remove a person from the gallery for good."""
