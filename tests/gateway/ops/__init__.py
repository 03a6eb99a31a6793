"""The operator API: who signs in, what each role may do, and what it leaves behind."""
