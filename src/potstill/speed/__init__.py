"""Speed: what a bundle does on this machine, and how it does most.

In: a bundle, and articles. Out: a plan beside the bundle that scoring then follows (`optimising`), or a measurement of
latency, throughput, stages, memory and cost (`benching`). `material` says on which articles, `proving` what a faster
way changes, `timing` how clocks are read on a machine that is never quiet.
"""

from potstill.speed.optimising import Limits, Optimised, optimise_bundle

__all__ = ["Limits", "Optimised", "optimise_bundle"]
