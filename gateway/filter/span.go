package filter

import "slices"

// Span is a range of destination ports that one rule decides, both ends included.
type Span struct {
	First, Last uint16
	Decision
}

// Spans decides a packet for every destination port from first to last, in ascending order. It is for explanations, where
// the port that a client will be answered at is not known yet. p must be TCP or UDP.
func (r *Rules) Spans(p Packet, first, last uint16) []Span {
	starts := []int{int(first)}
	for i := range r.list {
		starts = append(starts, int(r.list[i].first), int(r.list[i].first)+int(r.list[i].more)+1)
	}
	slices.Sort(starts)
	var spans []Span
	for _, start := range slices.Compact(starts) {
		if start < int(first) || start > int(last) {
			continue
		}
		if n := len(spans); n > 0 {
			spans[n-1].Last = uint16(start - 1)
		}
		p.Port = uint16(start)
		d := r.Decide(&p)
		if n := len(spans); n > 0 && spans[n-1].Decision == d {
			continue
		}
		spans = append(spans, Span{First: uint16(start), Decision: d})
	}
	if n := len(spans); n > 0 {
		spans[n-1].Last = last
	}
	return spans
}
