"""Attacks, one family a file: what they need of a model, the norms they are held to, and what they give back.

An attack is called as `bench.attacks.base.Attack` says. BPDA and EOT are wrappers around a model (`wrappers`), so
that every attack can be run with either, with both or with none.
"""
