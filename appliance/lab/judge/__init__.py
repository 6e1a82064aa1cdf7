"""The judge: suites of scenes, what each system made of them, and the report; and what is set by it on fold 4."""
