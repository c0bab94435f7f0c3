"""Enrol a person with several pictures, after consent."""
