"""One TOML file a board and the templates of what is installed on it: data, read by `edgedefend.board`.

README.md explains every field and names its source.
"""
