"""`edgedefend serve`: the HTTP service, its metrics and its page (extra ``serve``).

`pool` owns the interpreters, `answers` is what they do for a request, `app` the routes; `guard` and `protocol` keep
hostile clients away from both, `server` listens and talks to systemd. Nothing here is imported by the rest of
`edgedefend`.
"""
