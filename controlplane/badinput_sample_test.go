package controlplane_test

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
)

// few gives all of the cases or, in a short test, the n of them whose keys have the least hashes: the
// same in every run, and others for every method if the keys name it. So what a short test takes grows
// with the number of methods alone.
func few[T any](n int, all []T, key func(T) string) []T {
	if !testing.Short() || len(all) <= n {
		return all
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b T) int {
		return cmp.Compare(hash(key(a)), hash(key(b)))
	})[:n]
}

func hash(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text)) // a hash never fails
	return h.Sum64()
}

// sampler chooses the mutations of methods that a short test makes.
type sampler struct {
	mutators map[string]bool // that have been chosen
}

// fewMutations is how many mutations of a method a short test makes, besides those of mutators that no
// method before had.
const fewMutations = 8

// choose gives all mutations, or in a short test the first of each mutator and a few others.
func (s *sampler) choose(m *method, all []mutation) []mutation {
	if !testing.Short() {
		return all
	}
	var chosen, others []mutation
	for _, one := range all {
		if s.mutators[one.mutator] {
			others = append(others, one)
			continue
		}
		s.mutators[one.mutator] = true
		chosen = append(chosen, one)
	}
	return append(chosen, few(fewMutations, others, func(one mutation) string {
		return strings.Join([]string{m.path, one.field, one.mutator}, " ")
	})...)
}
