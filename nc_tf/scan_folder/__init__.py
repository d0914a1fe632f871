"""One scan on disk: verdict.json, triggers, and the state that a stopped scan goes on from."""
