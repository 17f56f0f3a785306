package policy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// glob is a pattern in which * stands for any characters and ? for one. Its size bounds the time of a match: the
// parts between the stars are looked for once each, from left to right, and none is taken back.
type glob struct {
	// parts are what the stars separate; with one part there is no star.
	parts []segment
	least int // bytes of the shortest match
}

// segment is what stands between two stars.
type segment []run

// run is some characters of any kind, and then text.
type run struct {
	any  int
	text string
}

// newGlob compiles a pattern without variables.
func newGlob(pattern string) glob {
	var b globBuilder
	b.pattern(pattern)
	return b.glob()
}

// match reports whether the pattern matches the whole text.
func (g *glob) match(text string) bool {
	if len(text) < g.least {
		return false
	}
	first, last := g.parts[0], g.parts[len(g.parts)-1]
	n, ok := first.prefix(text)
	if !ok {
		return false
	}
	text = text[n:]
	if len(g.parts) == 1 {
		return text == ""
	}
	if n, ok = last.suffix(text); !ok {
		return false
	}
	text = text[:n]
	for _, p := range g.parts[1 : len(g.parts)-1] {
		if n, ok = p.find(text); !ok {
			return false
		}
		text = text[n:]
	}
	return true
}

// all reports whether the pattern matches every text.
func (g *glob) all() bool { return len(g.parts) > 1 && g.least == 0 }

// prefix gives how much of the beginning of text the segment matches.
func (s segment) prefix(text string) (int, bool) {
	at := 0
	for i := range s {
		for range s[i].any {
			_, size := utf8.DecodeRuneInString(text[at:])
			if size == 0 {
				return 0, false
			}
			at += size
		}
		if !strings.HasPrefix(text[at:], s[i].text) {
			return 0, false
		}
		at += len(s[i].text)
	}
	return at, true
}

// suffix gives where the end of text that the segment matches begins.
func (s segment) suffix(text string) (int, bool) {
	at := len(text)
	for _, r := range slices.Backward(s) {
		if !strings.HasSuffix(text[:at], r.text) {
			return 0, false
		}
		at -= len(r.text)
		for range r.any {
			_, size := utf8.DecodeLastRuneInString(text[:at])
			if size == 0 {
				return 0, false
			}
			at -= size
		}
	}
	return at, true
}

// find gives where the first match of the segment in text ends.
func (s segment) find(text string) (int, bool) {
	if len(s) == 1 && s[0].any == 0 {
		at := strings.Index(text, s[0].text)
		return at + len(s[0].text), at >= 0
	}
	for at := 0; ; {
		if n, ok := s.prefix(text[at:]); ok {
			return at + n, true
		}
		_, size := utf8.DecodeRuneInString(text[at:])
		if size == 0 {
			return 0, false
		}
		at += size
	}
}

// globBuilder puts a glob together.
type globBuilder struct {
	g       glob
	segment segment
	text    []byte
	any     int
}

// pattern adds text in which * and ? are wildcards.
func (b *globBuilder) pattern(text string) {
	for i := range len(text) {
		switch text[i] {
		case '*':
			b.star()
		case '?':
			if len(b.text) > 0 {
				b.endRun()
			}
			b.any++
			b.g.least++
		default:
			b.text = append(b.text, text[i])
		}
	}
}

// literal adds text in which nothing is a wildcard.
func (b *globBuilder) literal(text string) { b.text = append(b.text, text...) }

func (b *globBuilder) star() {
	if len(b.g.parts) > 0 && len(b.text)+b.any+len(b.segment) == 0 {
		return // one star is as good as two
	}
	b.endSegment()
}

func (b *globBuilder) endRun() {
	b.segment = append(b.segment, run{b.any, string(b.text)})
	b.g.least += len(b.text)
	b.any, b.text = 0, b.text[:0]
}

func (b *globBuilder) endSegment() {
	if len(b.text)+b.any > 0 {
		b.endRun()
	}
	b.g.parts = append(b.g.parts, b.segment)
	b.segment = nil
}

func (b *globBuilder) glob() glob {
	b.endSegment()
	return b.g
}
