#!/usr/bin/env node
// Evaluate a quietdial policy.json with Node alone: node decide.js policy.json vectors.jsonl
// One line of answers for each line of vectors: action answer valid choice.
"use strict";
const { readFileSync } = require("fs");

const WORDS = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };
const number = (value) => (typeof value === "string" ? WORDS[value] : value);

function decide(policy, row) {
  const decode = policy.decode;
  let x = row.obs.map((value) => Math.fround(number(value)));
  const base = row.base_dials ?? (decode.base ? -1 : 0); // missing: invalid
  const u = number(row.uniform ?? (decode.read === "sample" ? -1 : 0));
  let valid = x.length === policy.low.length && base >= 0 && u >= 0 && u < 1;
  valid = valid && x.every((value, i) => value >= policy.low[i] && value <= policy.high[i]);
  if (!valid || (decode.base && base > decode.high)) return [-1, decode.invalid, 0, 0];
  for (const layer of policy.layers) {
    const y = layer.b.slice();
    x.forEach((value, i) => layer.w[i].forEach((weight, j) => (y[j] += value * weight)));
    x = layer.act === "tanh" ? y.map(Math.tanh) : y;
  }
  let action = 0;
  let answer;
  if (decode.read === "continuous") {
    const share = 0.5 * (Math.tanh(x[0]) + 1);
    answer = Math.exp(decode.log_low + share * decode.log_ratio) * decode.scale;
  } else {
    if (decode.read === "argmax") {
      action = x.indexOf(Math.max(...x)); // of equal ones the first
    } else {
      const weights = x.map((value) => Math.exp(value - Math.max(...x)));
      const edge = u * weights.reduce((a, b) => a + b);
      let total = 0;
      for (const weight of weights.slice(0, -1)) {
        total += weight;
        if (total <= edge) action += 1;
      }
    }
    answer = decode.table[action] + (decode.base ? base : 0);
  }
  answer = Math.min(Math.max(answer, decode.low), decode.high);
  return [action, answer, 1, decode.choices[action] ?? 0];
}

const policy = JSON.parse(readFileSync(process.argv[2], "utf8"));
const vectors = readFileSync(process.argv[3] ?? 0, "utf8").trimEnd().split("\n");
console.log(vectors.map((line) => decide(policy, JSON.parse(line)).join(" ")).join("\n"));
