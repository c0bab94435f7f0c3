"""Compare two faces: the same person, different people, or too close to say."""
