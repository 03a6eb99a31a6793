"""The Procrastinate app, its two lanes, retries, sweepers and handlers: what happens after a commit."""
