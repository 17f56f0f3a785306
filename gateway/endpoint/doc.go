// Package endpoint carries the flows of endpoints: it accepts a consumer's
// connection from the gVisor stack of a domain, records the flow, picks and
// dials a target, and relays bytes both ways within the zone budget.
//
// The consumer's side is always a gVisor TCP endpoint; the target's side is a
// kernel socket (underlay) or an endpoint of the provider's domain. Everything
// is driven by events: a flow on which nothing moves holds no goroutine, no
// timer and no buffer.
//
// One Engine serves all domains of a gateway process.
package endpoint
