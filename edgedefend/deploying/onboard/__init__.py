"""The board's part of `edgedefend deploy`: sent there and run by its Python; standard library only.

Nothing of edgedefend need be installed on the board: `edgedefend.deploying.fleet.agent_source` packs these modules into
one program, under their own names.
"""
