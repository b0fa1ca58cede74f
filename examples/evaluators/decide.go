// Evaluate a quietdial policy.json with Go alone: go run decide.go policy.json vectors.jsonl
// One line of answers for each line of vectors: action answer valid choice.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
)

// Real is a number, or one of the texts "NaN", "Infinity" and "-Infinity".
type Real float64

// UnmarshalJSON reads either form.
func (r *Real) UnmarshalJSON(data []byte) error {
	value, err := strconv.ParseFloat(strings.Trim(string(data), `"`), 64)
	*r = Real(value)
	return err
}

// Policy is what policy.json holds.
type Policy struct {
	Low, High []float64
	Layers    []struct {
		W   [][]float64
		B   []float64
		Act string
	}
	Decode struct {
		Read               string
		Low, High, Invalid float64
		Table              []float64
		Base               bool
		Choices            []int
		LogLow             float64 `json:"log_low"`
		LogRatio           float64 `json:"log_ratio"`
		Scale              float64
	}
}

// Row is one vector.
type Row struct {
	Obs     []Real
	Base    *int64 `json:"base_dials"`
	Uniform *Real
}

func decide(p *Policy, row *Row) (int, float64, int, int) {
	d := &p.Decode
	base, u := 0.0, 0.0
	valid := len(row.Obs) == len(p.Low) && !(d.Base && row.Base == nil)
	valid = valid && !(d.Read == "sample" && row.Uniform == nil)
	if row.Base != nil {
		base = float64(*row.Base)
	}
	if row.Uniform != nil {
		u = float64(*row.Uniform)
	}
	valid = valid && base >= 0 && !(d.Base && base > d.High) && u >= 0 && u < 1
	x := make([]float64, len(row.Obs))
	for i, value := range row.Obs {
		x[i] = float64(float32(value))
		valid = valid && x[i] >= p.Low[i] && x[i] <= p.High[i]
	}
	if !valid {
		return -1, d.Invalid, 0, 0
	}
	for _, layer := range p.Layers {
		y := append([]float64(nil), layer.B...)
		for i, value := range x {
			for j, weight := range layer.W[i] {
				y[j] += value * weight
			}
		}
		if layer.Act == "tanh" {
			for j := range y {
				y[j] = math.Tanh(y[j])
			}
		}
		x = y
	}
	action, answer := 0, 0.0
	if d.Read == "continuous" {
		share := 0.5 * (math.Tanh(x[0]) + 1)
		answer = math.Exp(d.LogLow+share*d.LogRatio) * d.Scale
	} else {
		best := 0
		for i := range x {
			if x[i] > x[best] { // of equal ones the first
				best = i
			}
		}
		if d.Read == "argmax" {
			action = best
		} else {
			sum, total := 0.0, 0.0
			weights := make([]float64, len(x))
			for i := range x {
				weights[i] = math.Exp(x[i] - x[best])
				sum += weights[i]
			}
			for _, weight := range weights[:len(weights)-1] {
				if total += weight; total <= u*sum {
					action++
				}
			}
		}
		answer = d.Table[action]
		if d.Base {
			answer += base
		}
	}
	choice := 0
	if len(d.Choices) > 0 {
		choice = d.Choices[action]
	}
	return action, math.Min(math.Max(answer, d.Low), d.High), 1, choice
}

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var policy Policy
	if err := json.Unmarshal(data, &policy); err != nil {
		log.Fatal(err)
	}
	stream := os.Stdin
	if len(os.Args) > 2 {
		if stream, err = os.Open(os.Args[2]); err != nil {
			log.Fatal(err)
		}
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for rows := json.NewDecoder(stream); rows.More(); {
		var row Row
		if err := rows.Decode(&row); err != nil {
			log.Fatal(err)
		}
		action, answer, valid, choice := decide(&policy, &row)
		fmt.Fprintf(out, "%d %.17g %d %d\n", action, answer, valid, choice)
	}
}
