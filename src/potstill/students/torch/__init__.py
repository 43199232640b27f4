"""The parts of students that need torch: backbones, pooling, adapters. Scoring with a CPU bundle does not import it."""
