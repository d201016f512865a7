"""One file a command of the device: each parses its options, calls the library and prints the answer."""
