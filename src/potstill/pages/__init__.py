"""Pages that a person works with, served on loopback by the command that opens them."""
