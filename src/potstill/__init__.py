"""potstill: distil an LLM's judgement into a small model you own."""
