"""Do comparison scores change over the months? The BEZ question: day-to-day against whole-period variation."""
