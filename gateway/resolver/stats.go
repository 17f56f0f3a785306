package resolver

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/miekg/dns"
)

// drop is why a request gets no answer.
type drop int

const (
	dropMalformed drop = iota
	dropRate
	dropStreams
	dropUnsent
	numDrops
)

var dropWords = [numDrops]string{"malformed", "rate_limit", "connection_limit", "unsent"}

// failure is why another server gave no answer.
type failure int

const (
	failTimeout failure = iota
	failUnreachable
	failCode
	failAnswer
	numFailures
)

var failureWords = [numFailures]string{"timeout", "unreachable", "error_code", "bad_answer"}

// counters are what a [Resolver] has done.
type counters struct {
	answers                  [dns.RcodeBadVers + 1]atomic.Uint64
	drops                    [numDrops]atomic.Uint64
	failures                 [numFailures]atomic.Uint64
	cacheHits, joined, loops atomic.Uint64
}

func (c *counters) answered(code int) { c.answers[min(code, dns.RcodeBadVers)].Add(1) }
func (c *counters) dropped(why drop)  { c.drops[why].Add(1) }
func (c *counters) failed(err error)  { c.failures[failureOf(err)].Add(1) }

func failureOf(err error) failure {
	var network net.Error
	switch {
	case errors.Is(err, errCode):
		return failCode
	case errors.Is(err, errAnswer), errors.Is(err, errMismatch):
		return failAnswer
	case errors.As(err, &network) && network.Timeout():
		return failTimeout
	}
	return failUnreachable
}

// Stats are counters since the Resolver was made. The sets of keys are closed.
type Stats struct {
	// Answers are by response code, such as NXDOMAIN.
	Answers map[string]uint64
	// Drops are requests without an answer, by reason.
	Drops map[string]uint64
	// UpstreamFailures are other servers that gave no answer, by reason.
	UpstreamFailures map[string]uint64
	// CacheHits were answered from what was remembered, and Joined with what another had asked at the same time. Loops are
	// questions that came back from where they had been sent.
	CacheHits, Joined, Loops uint64
	// CacheEntries is the number of answers remembered now.
	CacheEntries int
}

// servedCodes are the response codes that there are answers with.
var servedCodes = []int{
	dns.RcodeSuccess, dns.RcodeFormatError, dns.RcodeServerFailure, dns.RcodeNameError, dns.RcodeNotImplemented, dns.RcodeRefused, dns.RcodeBadVers,
}

// Stats returns the counters.
func (r *Resolver) Stats() Stats {
	s := Stats{
		Answers: map[string]uint64{}, Drops: map[string]uint64{}, UpstreamFailures: map[string]uint64{},
		CacheHits: r.stats.cacheHits.Load(), Joined: r.stats.joined.Load(), Loops: r.stats.loops.Load(), CacheEntries: r.cache.len(),
	}
	for _, code := range servedCodes {
		word := dns.RcodeToString[code]
		if code == dns.RcodeBadVers {
			word = "BADVERS"
		}
		s.Answers[word] = r.stats.answers[code].Load()
	}
	for i, word := range dropWords {
		s.Drops[word] = r.stats.drops[i].Load()
	}
	for i, word := range failureWords {
		s.UpstreamFailures[word] = r.stats.failures[i].Load()
	}
	return s
}
