package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"causeway/gateway/endpoint"
	"causeway/gateway/resolver"
	"causeway/gateway/shape"
	"causeway/gateway/spec"
	"causeway/tunnel/link"
)

// connectedWithin is how old a handshake may be: WireGuard rejects a session 180 s after it (whitepaper, section 6.2).
const connectedWithin = 180 * time.Second

// bitsPerByte turns budgets into the base unit of metrics.
const bitsPerByte = 8

// metric makes a description; every label has a bounded set of values or names an object of the spec.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("causeway_"+name, help, labels, nil)
}

var (
	descTunnelBytes      = metric("tunnel_bytes_total", "Bytes of IP packets that passed the tunnels of a domain; direction in is from clients.", "domain", "direction")
	descTunnelPackets    = metric("tunnel_packets_total", "IP packets that passed the tunnels of a domain; direction in is from clients.", "domain", "direction")
	descDrops            = metric("dropped_packets_total", "IP packets that were dropped or reset, by reason.", "domain", "direction", "reason")
	descPeers            = metric("peers", "WireGuard peers of a domain.", "domain", "kind")
	descPeersConnected   = metric("peers_connected", "WireGuard peers of a domain with a handshake in the last 180 seconds.", "domain", "kind")
	descHandshake        = metric("last_handshake_timestamp_seconds", "Time of the newest handshake of a domain's peers, in seconds since 1970; 0 before the first.", "domain", "kind")
	descTunnelEndpointUp = metric("tunnel_endpoint_up", "1 if the WireGuard device serves, else 0.", "tunnel_endpoint")
	descFlowsActive      = metric("flows_active", "Connections alive.", "network_interface")
	descFlowsOpened      = metric("flows_opened_total", "Connections relayed to a target.", "network_interface")
	descFlowsRefused     = metric("flows_refused_total", "Connections refused after the handshake.", "network_interface")
	descFlowsEnded       = metric("flows_ended_total", "Connections ended or refused, by reason.", "reason")
	descInterfaceBytes   = metric("network_interface_bytes_total", "Payload bytes relayed; direction ingress is from consumer to service.", "network_interface", "direction")
	descBudgetLimit      = metric("budget_limit_bytes_per_second", "Limit of the zone budget in force.", "network_interface", "direction")
	descBudgetUsed       = metric("budget_used_bytes_per_second", "Recent use of the zone budget.", "network_interface", "direction")
	descBudgetThrottled  = metric("budget_throttled_seconds_total", "Time during which the zone budget made a connection wait.", "network_interface", "direction")
	descTargets          = metric("targets", "Targets of a target group, by health.", "target_group", "state")
	descHealthChecks     = metric("target_health_checks_total", "Health checks of a target group's targets, by outcome.", "target_group", "result")
	descEjections        = metric("targets_ejected_total", "Targets of a target group that became unhealthy because connections failed.", "target_group")
	descPolicy           = metric("policy_decisions_total", "Connections that an endpoint policy decided about; deny_dry_run are those it denied without being enforced.", "decision")
	descDialsFailed      = metric("target_dials_failed_total", "Connections to targets that could not be made.")
	descDNSAnswers       = metric("dns_answers_total", "Questions answered by a domain's resolver, by response code.", "domain", "code")
	descDNSDrops         = metric("dns_dropped_questions_total", "Questions to a domain's resolver without an answer, by reason.", "domain", "reason")
	descDNSReuse         = metric("dns_reused_answers_total", "Questions for which nobody was asked again: the answer came from the cache or was on its way.", "domain", "from")
	descDNSLoops         = metric("dns_loops_total", "Questions that came back to a domain's resolver from where it had sent them.", "domain")
	descDNSFailures      = metric("dns_upstream_failures_total", "Name servers that gave a domain's resolver no answer, by reason.", "domain", "reason")
	descDNSCache         = metric("dns_cached_answers", "Answers that a domain's resolver remembers.", "domain")
	descRevision         = metric("spec_revision", "Revision of the spec in force.")
	descRefused          = metric("spec_refused", "1 if the newest spec was refused, else 0.")
)

var _ prometheus.Collector = (*Gateway)(nil)

// Describe implements prometheus.Collector.
func (g *Gateway) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descTunnelBytes, descTunnelPackets, descDrops, descPeers, descPeersConnected, descHandshake, descTunnelEndpointUp,
		descFlowsActive, descFlowsOpened, descFlowsRefused, descFlowsEnded, descInterfaceBytes,
		descBudgetLimit, descBudgetUsed, descBudgetThrottled, descTargets, descHealthChecks, descEjections, descPolicy, descDialsFailed, descRevision, descRefused,
		descDNSAnswers, descDNSDrops, descDNSReuse, descDNSLoops, descDNSFailures, descDNSCache,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *Gateway) Collect(out chan<- prometheus.Metric) {
	c := collector{out}
	v := g.view.Load()
	g.collectTunnels(c, v)
	g.collectFlows(c, v)
	for _, r := range v.resolvers {
		c.resolver(r.domain, r.resolver.Stats())
	}
	for _, tg := range v.spec.TargetGroups {
		if group := g.pool.Group(tg.Name); group != nil {
			c.targets(tg.Name, group.Status())
			s := group.Stats()
			c.counter(descHealthChecks, float64(s.ChecksPassed), tg.Name, "passed")
			c.counter(descHealthChecks, float64(s.ChecksFailed), tg.Name, "failed")
			c.counter(descEjections, float64(s.Ejections), tg.Name)
		}
	}
	c.gauge(descRevision, float64(v.spec.Revision))
	c.gauge(descRefused, flag(g.refusal.Load() != nil))
}

// collector sends metrics of which the values are read elsewhere.
type collector struct{ out chan<- prometheus.Metric }

func (c collector) counter(d *prometheus.Desc, value float64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func (c collector) gauge(d *prometheus.Desc, value float64, labels ...string) {
	c.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (g *Gateway) collectTunnels(c collector, v *view) {
	for _, d := range v.domains {
		k := d.Counters()
		c.counter(descTunnelBytes, float64(k.InBytes), d.Name(), "in")
		c.counter(descTunnelBytes, float64(k.OutBytes), d.Name(), "out")
		c.counter(descTunnelPackets, float64(k.InPackets), d.Name(), "in")
		c.counter(descTunnelPackets, float64(k.OutPackets), d.Name(), "out")
		for i := range link.NumReasons {
			if n := k.InDrops[i]; n > 0 {
				c.counter(descDrops, float64(n), d.Name(), "in", link.Reason(i).String())
			}
			if n := k.OutDrops[i]; n > 0 {
				c.counter(descDrops, float64(n), d.Name(), "out", link.Reason(i).String())
			}
		}
	}
	sums := map[peerGroup]*peerSum{}
	for _, t := range v.tunnels {
		status := g.tunnelStatus(t)
		c.gauge(descTunnelEndpointUp, flag(status.Serving), t.uid)
		addPeers(sums, t, status.Peers)
	}
	for of, s := range sums {
		c.gauge(descPeers, float64(s.count), of.domain, string(of.kind))
		c.gauge(descPeersConnected, float64(s.connected), of.domain, string(of.kind))
		c.gauge(descHandshake, s.newest, of.domain, string(of.kind))
	}
}

// peerGroup is what peers are summed up by: single peers would be too many labels.
type peerGroup struct {
	domain string
	kind   spec.PeerKind
}

type peerSum struct {
	count, connected int
	newest           float64
}

func addPeers(sums map[peerGroup]*peerSum, t tunnelView, peers []spec.PeerStatus) {
	handshakes := map[string]time.Time{}
	for _, p := range peers {
		handshakes[p.Name] = p.LastHandshake
	}
	for _, p := range t.spec.Peers {
		of := peerGroup{t.domain, p.Kind}
		s := sums[of]
		if s == nil {
			s = &peerSum{}
			sums[of] = s
		}
		s.count++
		last := handshakes[p.Name]
		if last.IsZero() {
			continue
		}
		if time.Since(last) < connectedWithin {
			s.connected++
		}
		s.newest = max(s.newest, float64(last.UnixNano())/float64(time.Second))
	}
}

func (g *Gateway) collectFlows(c collector, v *view) {
	stats := g.stats()
	for i := range endpoint.ReasonCount {
		if i != endpoint.ReasonNone {
			c.counter(descFlowsEnded, float64(stats.Ended[i]), i.String())
		}
	}
	c.counter(descDialsFailed, float64(stats.DialsFailed))
	c.counter(descPolicy, float64(stats.PolicyAllowed), "allow")
	c.counter(descPolicy, float64(stats.PolicyDenied), "deny")
	c.counter(descPolicy, float64(stats.PolicyDryRun), "deny_dry_run")
	for _, n := range v.interfaces {
		uid := n.iface.uid
		s := stats.Interfaces[uid]
		c.gauge(descFlowsActive, float64(s.Active), uid)
		c.counter(descFlowsOpened, float64(s.Opened), uid)
		c.counter(descFlowsRefused, float64(s.Refused), uid)
		c.counter(descInterfaceBytes, float64(s.IngressBytes), uid, shape.Ingress.String())
		c.counter(descInterfaceBytes, float64(s.EgressBytes), uid, shape.Egress.String())
		for _, d := range []shape.Direction{shape.Ingress, shape.Egress} {
			u := n.iface.budget.Usage(d)
			c.gauge(descBudgetLimit, float64(u.LimitBitsPerSecond)/bitsPerByte, uid, d.String())
			c.gauge(descBudgetUsed, float64(u.UsedBitsPerSecond)/bitsPerByte, uid, d.String())
			c.counter(descBudgetThrottled, u.Throttled.Seconds(), uid, d.String())
		}
	}
}

func (c collector) resolver(domain string, s resolver.Stats) {
	for code, n := range s.Answers {
		c.counter(descDNSAnswers, float64(n), domain, code)
	}
	for why, n := range s.Drops {
		c.counter(descDNSDrops, float64(n), domain, why)
	}
	for why, n := range s.UpstreamFailures {
		c.counter(descDNSFailures, float64(n), domain, why)
	}
	c.counter(descDNSReuse, float64(s.CacheHits), domain, "cache")
	c.counter(descDNSReuse, float64(s.Joined), domain, "flight")
	c.counter(descDNSLoops, float64(s.Loops), domain)
	c.gauge(descDNSCache, float64(s.CacheEntries), domain)
}

func (c collector) targets(group string, list []spec.TargetStatus) {
	count := map[spec.TargetState]int{}
	for _, t := range list {
		count[t.State]++
	}
	for _, state := range []spec.TargetState{spec.TargetInitial, spec.TargetHealthy, spec.TargetUnhealthy, spec.TargetUnused, spec.TargetDraining} {
		c.gauge(descTargets, float64(count[state]), group, string(state))
	}
}
