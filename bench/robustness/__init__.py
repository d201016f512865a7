"""How well a model behind a defence stands up to attacks: protocols, judging, results that survive a kill, figures."""
