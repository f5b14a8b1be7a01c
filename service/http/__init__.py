"""What goes in and out over HTTP, whatever it is about."""
