package flowlog

import (
	"sync"
	"testing"

	"causeway/gateway/spec"
)

func all(*spec.FlowRecord) bool { return true }

func TestFeedDeliversWhatMatches(t *testing.T) {
	var f Feed
	if f.Watched() {
		t.Error("watched by nobody")
	}
	f.Publish(&spec.FlowRecord{ID: 1})
	even, stopEven := f.Watch(func(r *spec.FlowRecord) bool { return r.ID%2 == 0 }, 10)
	every, stopEvery := f.Watch(all, 10)
	for id := range uint64(4) {
		f.Publish(&spec.FlowRecord{ID: id + 2})
	}
	stopEven()
	stopEven()
	f.Publish(&spec.FlowRecord{ID: 6})
	stopEvery()
	if got := ids(even); !equal(got, 2, 4) {
		t.Errorf("even: %v", got)
	}
	if got := ids(every); !equal(got, 2, 3, 4, 5, 6) {
		t.Errorf("all: %v", got)
	}
	if f.Watched() {
		t.Error("still watched")
	}
}

func TestFeedDropsTheWatcherThatIsBehind(t *testing.T) {
	var f Feed
	slow, stop := f.Watch(all, 2)
	defer stop()
	other, stopOther := f.Watch(all, 10)
	for id := range uint64(4) {
		f.Publish(&spec.FlowRecord{ID: id})
	}
	if got := ids(slow); !equal(got, 0, 1) { // and then closed
		t.Errorf("slow: %v", got)
	}
	stopOther()
	if got := ids(other); !equal(got, 0, 1, 2, 3) {
		t.Errorf("other: %v", got)
	}
}

func TestFeedConcurrently(t *testing.T) {
	var f Feed
	var publishers, watchers sync.WaitGroup
	for range 4 {
		publishers.Go(func() {
			for id := range uint64(1000) {
				f.Publish(&spec.FlowRecord{ID: id})
			}
		})
		watchers.Go(func() {
			for range 100 {
				records, stop := f.Watch(all, 1)
				go stop()
				for range records {
				}
			}
		})
	}
	publishers.Wait()
	watchers.Wait()
	if f.Watched() {
		t.Error("still watched")
	}
}

func ids(records <-chan *spec.FlowRecord) []uint64 {
	var list []uint64
	for r := range records {
		list = append(list, r.ID)
	}
	return list
}

func equal(got []uint64, want ...uint64) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] {
			return false
		}
	}
	return true
}
