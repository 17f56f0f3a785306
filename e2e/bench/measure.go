package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"causeway/e2e/lab"
)

const (
	// inFlight is how many connections or requests are under way at once in the loaded figures.
	inFlight = 64
	// settle lets a gateway finish what opening connections left it to do before its memory is
	// read.
	settle = 2 * time.Second
)

// results holds a sample of each figure for each round, by variant.
type results map[string]map[figure][]float64

func (r results) add(variant string, f figure, value float64) {
	if r[variant] == nil {
		r[variant] = make(map[figure][]float64)
	}
	r[variant][f] = append(r[variant][f], value)
}

// turn is one variant's part of a round.
type turn struct {
	*rig
	ctx     context.Context
	options options
	service service
	sample  func(figure, float64)
}

// measure takes one sample of every figure of a variant. Memory has a rig of its own: a gateway
// that has worked before reuses what it has.
func measure(ctx context.Context, v variant, o options, all results) error {
	steps := [][]func(*turn) error{
		{(*turn).throughput, (*turn).connections, (*turn).requests},
		{(*turn).memory},
	}
	for _, figures := range steps {
		err := inLab(func(r *rig) error {
			t := &turn{rig: r, ctx: ctx, options: o, service: v.start(r)}
			t.sample = func(f figure, value float64) { all.add(v.name(), f, value) }
			r.connect(t.service)
			for _, step := range figures {
				if err := step(t); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// throughput measures iperf3 in both directions with one and with eight flows.
func (t *turn) throughput() error {
	for _, run := range []struct {
		download       bool
		streams        int
		rate, cpuPerGB figure
	}{
		{false, 1, upRate1, upCPU1},
		{false, 8, upRate8, upCPU8},
		{true, 1, downRate1, downCPU1},
		{true, 8, downRate8, downCPU8},
	} {
		var result lab.IperfResult
		cpu, err := t.cpu(func() (err error) {
			result, err = t.client.Iperf(t.ctx, lab.IperfConfig{
				Server: t.service.iperf, Duration: t.options.measure,
				Streams: run.streams, Download: run.download,
			})
			return err
		})
		if err != nil {
			return err
		}
		if result.Bytes == 0 {
			return errors.New("iperf3 received nothing")
		}
		t.sample(run.rate, result.BitsPerSecond/1e9)
		t.sample(run.cpuPerGB, cpu.Seconds()/(float64(result.Bytes)/1e9))
	}
	return nil
}

// connections measures short connections.
func (t *turn) connections() error {
	result, cpu, err := t.load("connect", inFlight)
	if err != nil {
		return err
	}
	t.sample(connectRate, float64(result.Count)/result.Elapsed.Seconds())
	t.sample(connectCPU, microseconds(cpu)/float64(result.Count))
	return nil
}

// requests measures small requests, one at a time and many.
func (t *turn) requests() error {
	single, _, err := t.load("request", 1)
	if err != nil {
		return err
	}
	t.sample(latency50, microseconds(single.P50))
	t.sample(latency99, microseconds(single.P99))
	many, cpu, err := t.load("request", inFlight)
	if err != nil {
		return err
	}
	t.sample(requestRate, float64(many.Count)/many.Elapsed.Seconds())
	t.sample(requestCPU, microseconds(cpu)/float64(many.Count))
	return nil
}

// memory measures what idle connections add to the resident memory of a gateway that has done
// nothing else.
func (t *turn) memory() error {
	before, err := t.service.usage()
	if err != nil {
		return err
	}
	p := t.client.Start(t.self, "load", "-mode", "hold", "-target", t.service.echo.String(),
		"-workers", strconv.Itoa(inFlight), "-count", strconv.Itoa(t.options.held))
	p.Eventually(time.Minute, "held connections", func() error {
		if !strings.Contains(p.Log(), heldMark) {
			return errors.New("not all are open")
		}
		return nil
	})
	time.Sleep(settle)
	after, err := t.service.usage()
	if err != nil {
		return err
	}
	t.sample(memoryPerConn, float64(after.RSS-before.RSS)/1000/float64(t.options.held))
	return nil
}

// load runs the load generator in the client and returns its result and the gateway's CPU time.
func (t *turn) load(mode string, workers int) (loadResult, time.Duration, error) {
	var result loadResult
	cpu, err := t.cpu(func() error {
		out, err := t.client.Output(t.ctx, t.self, "load", "-mode", mode, "-target", t.service.echo.String(),
			"-workers", strconv.Itoa(workers), "-duration", t.options.measure.String())
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &result); err != nil {
			return fmt.Errorf("read result of load: %w", err)
		}
		return nil
	})
	return result, cpu, err
}

// cpu returns the CPU time that the gateway used while f ran.
func (t *turn) cpu(f func() error) (time.Duration, error) {
	before, err := t.service.usage()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := t.service.usage()
	return after.CPU - before.CPU, err
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
