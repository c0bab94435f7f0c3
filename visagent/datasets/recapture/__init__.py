"""A face shown on a display or printed on a sheet, and photographed again: how the traces of it come about."""
