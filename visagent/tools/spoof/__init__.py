"""Live face or presentation attack: a specialist network and the language model's own words, side by side."""
