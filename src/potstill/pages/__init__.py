"""Interactive pages, served on the loopback interface by the command that opens them."""
