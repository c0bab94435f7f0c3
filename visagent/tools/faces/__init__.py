"""Count faces, say where they are, and whether they are good enough for the other tools."""
