#!/usr/bin/env php
<?php
// Evaluate a quietdial policy.json with PHP alone: php decide.php policy.json vectors.jsonl
// One line of answers for each line of vectors: action answer valid choice.

function number($value): float
{
    $words = ['NaN' => NAN, 'Infinity' => INF, '-Infinity' => -INF];
    return is_string($value) ? $words[$value] : (float) $value;
}

function float32(float $value): float
{
    return unpack('g', pack('g', $value))[1];
}

function decide(array $policy, array $row): array
{
    $decode = $policy['decode'];
    $x = array_map(fn($value) => float32(number($value)), $row['obs']);
    $base = $row['base_dials'] ?? ($decode['base'] ? -1 : 0); // missing: invalid
    $u = number($row['uniform'] ?? ($decode['read'] === 'sample' ? -1 : 0));
    $valid = count($x) == count($policy['low']) && $base >= 0 && $u >= 0 && $u < 1;
    $valid = $valid && (!$decode['base'] || $base <= $decode['high']);
    foreach ($x as $i => $value) {
        $valid = $valid && $value >= $policy['low'][$i] && $value <= $policy['high'][$i];
    }
    if (!$valid) {
        return [-1, $decode['invalid'], 0, 0];
    }
    foreach ($policy['layers'] as $layer) {
        $y = $layer['b'];
        foreach ($x as $i => $value) {
            foreach ($layer['w'][$i] as $j => $weight) {
                $y[$j] += $value * $weight;
            }
        }
        $x = $layer['act'] === 'tanh' ? array_map('tanh', $y) : $y;
    }
    $action = 0;
    if ($decode['read'] === 'continuous') {
        $share = 0.5 * (tanh($x[0]) + 1.0);
        $answer = exp($decode['log_low'] + $share * $decode['log_ratio']) * $decode['scale'];
    } else {
        if ($decode['read'] === 'argmax') {
            $action = array_search(max($x), $x, true); // of equal ones the first
        } else {
            $weights = array_map(fn($value) => exp($value - max($x)), $x);
            $total = 0.0;
            $edge = $u * array_sum($weights);
            foreach (array_slice($weights, 0, -1) as $weight) {
                $total += $weight;
                $action += $total <= $edge ? 1 : 0;
            }
        }
        $answer = $decode['table'][$action] + ($decode['base'] ? $base : 0);
    }
    $answer = min(max($answer, $decode['low']), $decode['high']);
    return [$action, $answer, 1, $decode['choices'][$action] ?? 0];
}

$policy = json_decode(file_get_contents($argv[1]), true, 16, JSON_THROW_ON_ERROR);
$stream = fopen($argv[2] ?? 'php://stdin', 'r');
while (($line = fgets($stream)) !== false) {
    [$action, $answer, $valid, $choice] = decide($policy, json_decode($line, true, 16, JSON_THROW_ON_ERROR));
    printf("%d %.17G %d %d\n", $action, $answer, $valid, $choice);
}
