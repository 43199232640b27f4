"""The part of the students that needs torch: backbones, pooling, adapters. Scoring a CPU bundle never imports it."""
