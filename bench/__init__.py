"""Side-by-side benchmarks: ``bench/run`` measures, ``docs/performance.md`` explains.

What is here runs on the standard library alone; ``inside`` runs in an environment that it makes.
"""
