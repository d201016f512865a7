"""The desktop side: load a Keras model, learn its quantisation table, export and check it, write bundles."""
