#!/usr/bin/env python3
"""Evaluate a quietdial policy.json without any library.

Use: python3 decide.py policy.json vectors.jsonl

One line of answers for each line of vectors: action answer valid choice.
"""

import json
import math
import struct
import sys

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value):
    return WORDS[value] if isinstance(value, str) else float(value)


def float32(value):
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def decide(policy, row):
    decode = policy["decode"]
    x = [float32(number(value)) for value in row["obs"]]
    base = row.get("base_dials", -1 if decode["base"] else 0)  # missing: invalid
    u = number(row.get("uniform", -1 if decode["read"] == "sample" else 0))
    valid = len(x) == len(policy["low"]) and base >= 0 and 0 <= u < 1
    valid = valid and all(a <= v <= b for a, v, b in zip(policy["low"], x, policy["high"]))
    if not valid or (decode["base"] and base > decode["high"]):
        return -1, decode["invalid"], False, 0
    for layer in policy["layers"]:
        y = list(layer["b"])
        for value, weights in zip(x, layer["w"]):
            for j, weight in enumerate(weights):
                y[j] += value * weight
        x = [math.tanh(value) for value in y] if layer["act"] == "tanh" else y
    action = 0
    if decode["read"] == "continuous":
        share = 0.5 * (math.tanh(x[0]) + 1.0)
        answer = math.exp(decode["log_low"] + share * decode["log_ratio"]) * decode["scale"]
    else:
        if decode["read"] == "argmax":
            action = x.index(max(x))  # of equal ones the first
        else:
            weights = [math.exp(value - max(x)) for value in x]
            total, edge = 0.0, u * sum(weights)
            for weight in weights[:-1]:
                total += weight
                action += total <= edge
        answer = decode["table"][action] + (base if decode["base"] else 0)
    answer = min(max(answer, decode["low"]), decode["high"])
    return action, answer, True, decode["choices"][action] if decode["choices"] else 0


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as stream:
        policy = json.load(stream)
    for line in open(sys.argv[2], encoding="utf-8") if len(sys.argv) > 2 else sys.stdin:
        action, answer, valid, choice = decide(policy, json.loads(line))
        print(f"{action} {answer:.17g} {int(valid)} {choice}")
