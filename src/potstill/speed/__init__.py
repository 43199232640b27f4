"""Measure a bundle's speed on this machine, and find its fastest settings.

Input: a bundle, and articles. Output: a plan next to the bundle that scoring follows (`optimising`), or a measurement
of latency, throughput, stages, memory and cost (`benching`). `material` selects the articles, `proving` measures what a
faster variant changes, and `timing` measures times on a machine with background load.
"""

from potstill.speed.optimising import Limits, Optimised, optimise_bundle

__all__ = ["Limits", "Optimised", "optimise_bundle"]
