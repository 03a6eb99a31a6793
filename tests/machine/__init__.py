"""Money under any sequence of events: a state machine on the real parts, beside a plain model."""
