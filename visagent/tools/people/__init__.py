"""Tell what is stored in the gallery, of everybody or of one person."""
