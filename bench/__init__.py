"""Side-by-side benchmarks: ``bench/run`` measures, ``docs/performance.md`` explains.

What is here needs only the standard library; ``inside`` runs in an environment that it makes.
"""
