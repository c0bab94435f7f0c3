"""Say who is in a picture: each face against the gallery, each person at most once."""
