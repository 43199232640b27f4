"""Answers of servers that are asked by levels, for tests with a scripted server."""

import json

from scripted_server import Answer

SPECS = ("decisions:m", "systemone:m")
SHARES = (0.1, 0.2, 0.3, 0.2, 0.1, 0.1)
"""Probabilities of the levels 0, 2, 4, 6, 8 and 10: 4.6 is their expected value."""


def decided(request, shares=SHARES, *, usage=True, change=lambda answers: answers):
    """Return the answer of a decisions server, in the order of the questions."""
    answers = [
        {
            "type": "score",
            "name": question["name"],
            "score": 2.3,
            "confidence": 0.5,
            "probabilities": [
                {"label": level["label"], "value": place, "probability": share}
                for place, (level, share) in enumerate(zip(question["levels"], shares, strict=True))
            ],
        }
        for question in request["questions"]
    ]
    body = {"model": "m", "answers": change(answers)}
    if usage:
        body["usage"] = {
            "input_tokens": 900, "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 0},
            "output_tokens": 8, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 908,
        }  # fmt: skip
    return Answer(body=json.dumps(body).encode())


def judged(request, shares=SHARES, *, usage=True, change=lambda answers: answers):
    """Return the answer of a System One server."""
    answers = {
        name: {
            "type": "score",
            "score": 2.3,
            "confidence": 0.5,
            "legend": {str(place): level for place, level in enumerate(question["criteria"])},
            "probabilities": {str(place): share for place, share in enumerate(shares)},
        }
        for name, question in request["questions"].items()
    }
    body = {"model": "m", "answers": change(answers)}
    if usage:
        body["usage"] = {"input_tokens": 900, "output_tokens": 8}
    return Answer(body=json.dumps(body).encode())


def said(spec, request, *shares, **how):
    return (decided if spec.startswith("decisions:") else judged)(request, *shares, **how)
