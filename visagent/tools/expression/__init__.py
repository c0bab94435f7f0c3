"""Which expression a face shows, by asking a vision-language model that was not trained for it."""
