package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		name        string
		samples     []float64
		mid, spread float64
	}{
		{"one", []float64{4}, 4, 0},
		{"odd", []float64{9, 1, 2}, 2, 2},
		{"even", []float64{1, 3}, 2, 0.5},
		{"zero", []float64{0, 0}, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			mid, spread := median(tc.samples)
			if mid != tc.mid || spread != tc.spread {
				t.Errorf("median %v, spread %v; want %v, %v", mid, spread, tc.mid, tc.spread)
			}
		})
	}
}

// sampled returns results in which every figure of a variant has one value.
func sampled(values map[string]float64) results {
	all := make(results)
	for variant, value := range values {
		for _, f := range figures {
			all.add(variant, f, value)
		}
	}
	return all
}

func TestJudge(t *testing.T) {
	t.Run("nothing to judge without ours", func(t *testing.T) {
		if got := judge(sampled(map[string]float64{"a": 1, "b": 1})); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("peers that were not measured are left out", func(t *testing.T) {
		got := judge(sampled(map[string]float64{ours: 1, "b": 1}))
		if len(got) != len(figures)+1 || strings.Contains(strings.Join(got, "\n"), "ours/a") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("bounds", func(t *testing.T) {
		all := sampled(map[string]float64{"a": 100, "b": 100})
		for _, f := range figures {
			value := 50.0
			if f.more {
				value = 150
			}
			all.add(ours, f, value)
		}
		all[ours][memoryPerConn] = []float64{12}
		for _, line := range judge(all) {
			if !strings.HasPrefix(line, "met ") {
				t.Errorf("far on the better side, yet: %s", line)
			}
		}
		all[ours][upCPU1] = []float64{86}
		all[ours][downCPU8] = []float64{116}
		all[ours][requestRate] = []float64{84}
		all[ours][latency99] = []float64{101}
		all[ours][memoryPerConn] = []float64{12.1}
		var missed []string
		for _, line := range judge(all) {
			if rest, ok := strings.CutPrefix(line, "MISSED  "); ok {
				missed = append(missed, rest)
			}
		}
		// requests and download miss the bound to (a), and being better than (b) as well.
		want := []string{
			"upload, 1 flow, CPU s/GB: ours/a 0.86, target <= 0.85",
			"download, 8 flows, CPU s/GB: ours/a 1.16, target <= 1.15",
			"requests, 64 in flight, 1/s: ours/a 0.84, target >= 0.85",
			"download, 8 flows, CPU s/GB: ours/b 1.16, target <= 1.00",
			"request, 1 in flight, p99, us: ours/b 1.01, target <= 1.00",
			"requests, 64 in flight, 1/s: ours/b 0.84, target >= 1.00",
			"idle connection: 12.1 kB, target <= 12 kB",
		}
		if got := strings.Join(missed, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("missed:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
		}
	})
}

func TestPrintReport(t *testing.T) {
	var out strings.Builder
	o := options{measure: 3 * time.Second, rounds: 1, variants: []variant{causeway{}, tunHAProxy{}}}
	printReport(&out, o, sampled(map[string]float64{ours: 3, "a": 4}))
	for _, want := range []string{"ours/a", "upload, 8 flows", "0.75", "MISSED"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "ours/b") {
		t.Errorf("the report compares with what was not measured:\n%s", out.String())
	}
}

func TestParseOptions(t *testing.T) {
	o, err := parseOptions([]string{"-variants", "t,a", "-rounds", "2", "-seconds", "5"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.variants) != 2 || o.variants[0].name() != "t" || o.rounds != 2 || o.measure != 5*time.Second {
		t.Errorf("got %+v", o)
	}
	for _, bad := range [][]string{
		{"-variants", "c"}, {"-rounds", "0"}, {"-seconds", "-1"}, {"-held", "0"}, {"-held", "100000"}, {"more"},
	} {
		if _, err := parseOptions(bad, io.Discard); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
