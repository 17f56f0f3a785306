package gateway

import (
	"causeway/gateway/endpoint"
	"causeway/gateway/spec"
)

// protocolTCP is TCP's IP protocol number.
const protocolTCP = 6

// flowEnded lets a flow's target group know how its target behaved, and hands on its record. The engine's workers call
// it.
func (g *Gateway) flowEnded(r endpoint.Record) {
	group := g.pool.Group(r.TargetGroup)
	switch {
	case group == nil:
	case r.EgressBytes > 0:
		group.Answered(r.Target)
	case r.Reason == endpoint.ReasonTargetReset:
		group.Reset(r.Target)
	}
	if g.cfg.OnRecord == nil && !g.records.Watched() {
		return
	}
	record := flowRecord(r)
	g.records.Publish(&record)
	if g.cfg.OnRecord != nil {
		g.cfg.OnRecord(&record)
	}
}

// WatchFlows delivers the record of each matching connection that ends or is refused after its handshake, from now on.
// Up to buffer records wait for their reader; one that falls further behind finds the channel closed after those. stop
// ends the watch and is idempotent. Records are shared: nobody may change them. match is called by the goroutines that
// carry the packets, for every record, and must not block.
func (g *Gateway) WatchFlows(match func(*spec.FlowRecord) bool, buffer int) (records <-chan *spec.FlowRecord, stop func()) {
	return g.records.Watch(match, buffer)
}

// Flows gives the records of live connections that match and have a greater ID than after, in the order of their IDs,
// limit of them at most. It looks at every connection there is.
func (g *Gateway) Flows(match func(*spec.FlowRecord) bool, after uint64, limit int) []spec.FlowRecord {
	engine := g.engine.Load()
	if engine == nil {
		return nil
	}
	var list []spec.FlowRecord
	for r := range engine.FlowsAfter(after) {
		if len(list) == limit {
			break
		}
		if record := flowRecord(r); match(&record) {
			list = append(list, record)
		}
	}
	return list
}

func flowRecord(r endpoint.Record) spec.FlowRecord {
	record := spec.FlowRecord{
		ID: r.ID, Protocol: protocolTCP, Domain: r.Domain, Consumer: r.Consumer, Exposure: r.Exposure, Peer: r.Peer,
		Endpoint: r.EndpointName, EndpointUID: r.EndpointUID, Interface: r.NetworkInterface, Zone: r.Zone, Via: r.Via,
		Statement: r.Statement, Denied: r.Denied, DryRun: r.DryRun, ServerName: r.ServerName,
		Target: r.Target, TargetGroup: r.TargetGroup, IngressBytes: r.IngressBytes, EgressBytes: r.EgressBytes,
		Start: r.Start, End: r.End,
	}
	if concernsService(r.Reason) {
		record.Service = r.Service
	}
	if r.Reason != endpoint.ReasonNone {
		record.Reason = r.Reason.String()
	}
	return record
}

// concernsService reports whether a connection that ended so has been the service's as well: others were refused for
// what only the consumer has to do with.
func concernsService(why endpoint.Reason) bool {
	switch why {
	case endpoint.ReasonRefusedNotAdmitted, endpoint.ReasonRefusedPolicy, endpoint.ReasonRefusedUnknownPeer, endpoint.ReasonRefusedDomainDials,
		endpoint.ReasonRefusedClientDials, endpoint.ReasonRefusedDomainFlows:
		return false
	}
	return true
}
