package spec

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

func (v *validation) targetGroups(g *Gateway) error {
	for i := range g.TargetGroups {
		tg := &g.TargetGroups[i]
		if tg.Name == "" || v.groups[tg.Name] {
			return fmt.Errorf("target group %q: name is empty or taken", tg.Name)
		}
		v.groups[tg.Name] = true
		if !v.domains[tg.Domain] {
			return fmt.Errorf("target group %q: domain %q does not exist", tg.Name, tg.Domain)
		}
		if err := tg.HealthCheck.Validate(); err != nil {
			return fmt.Errorf("target group %q: health check: %w", tg.Name, err)
		}
		if err := tg.Validate(); err != nil {
			return fmt.Errorf("target group %q: %w", tg.Name, err)
		}
	}
	return nil
}

// Validate reports the first attribute or target of the group that is out of range. It does not look at
// the health check and at names.
func (tg *TargetGroup) Validate() error {
	if tg.SlowStart != 0 && (tg.SlowStart < MinSlowStart || tg.SlowStart > MaxSlowStart) {
		return fmt.Errorf("slow start %v is neither zero nor in %v to %v", tg.SlowStart, MinSlowStart, MaxSlowStart)
	}
	if tg.DeregistrationDelay < 0 || tg.DeregistrationDelay > MaxDeregistrationDelay {
		return fmt.Errorf("deregistration delay %v is outside 0 to %v", tg.DeregistrationDelay, MaxDeregistrationDelay)
	}
	seen := map[Target]bool{}
	for _, t := range tg.Targets {
		if !t.Address.IsValid() || t.Port == 0 || seen[t.Target] {
			return fmt.Errorf("target %v:%d is invalid or repeated", t.Address, t.Port)
		}
		if t.Weight < 0 || t.Weight > MaxWeight {
			return fmt.Errorf("target %v:%d: weight %d is outside 0 to %d", t.Address, t.Port, t.Weight, MaxWeight)
		}
		seen[t.Target] = true
	}
	return nil
}

// Validate reports the first thing of the health check that is out of range.
func (h *HealthCheck) Validate() error {
	switch {
	case h.Protocol != TCP && h.Protocol != HTTP && h.Protocol != HTTPS:
		return fmt.Errorf("protocol %q is not known", h.Protocol)
	case h.Interval < time.Second || h.Interval > 300*time.Second:
		return fmt.Errorf("interval %v is outside 1s to 5m0s", h.Interval)
	case h.Timeout <= 0 || h.Timeout > 120*time.Second:
		return fmt.Errorf("timeout %v is outside 0 to 2m0s", h.Timeout)
	case !inRun(h.HealthyThreshold) || !inRun(h.UnhealthyThreshold):
		return fmt.Errorf("thresholds %d and %d are outside %d to %d",
			h.HealthyThreshold, h.UnhealthyThreshold, MinHealthyRun, MaxHealthyRun)
	}
	return h.validateRequest()
}

// validateRequest checks what is sent and what is expected of HTTP and HTTPS checks; the path becomes
// part of a request line.
func (h *HealthCheck) validateRequest() error {
	if h.Protocol == TCP {
		if h.Path != "" || len(h.Codes) > 0 {
			return errors.New("path and codes are for HTTP and HTTPS checks")
		}
		return nil
	}
	if !validPath(h.Path) {
		return fmt.Errorf("path %q is not a slash and up to 1023 visible ASCII characters", h.Path)
	}
	if len(h.Codes) == 0 {
		return errors.New("no status code is a success")
	}
	for _, r := range h.Codes {
		if r.First < MinCheckCode || r.Last > MaxCheckCode || r.First > r.Last {
			return fmt.Errorf("codes %d-%d are no range within %d to %d", r.First, r.Last, MinCheckCode, MaxCheckCode)
		}
	}
	return nil
}

func validPath(path string) bool {
	for _, c := range []byte(path) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(path) > 0 && path[0] == '/' && len(path) <= 1024
}

func inRun(n int) bool { return n >= MinHealthyRun && n <= MaxHealthyRun }

func (v *validation) loadBalancers(g *Gateway) error {
	for i := range g.LoadBalancers {
		lb := &g.LoadBalancers[i]
		if lb.Name == "" || v.balancers[lb.Name] {
			return fmt.Errorf("load balancer %q: name is empty or taken", lb.Name)
		}
		v.balancers[lb.Name] = true
		if !v.domains[lb.Domain] {
			return fmt.Errorf("load balancer %q: domain %q does not exist", lb.Name, lb.Domain)
		}
		if err := v.listeners(lb); err != nil {
			return fmt.Errorf("load balancer %q: %w", lb.Name, err)
		}
		if err := v.loadBalancerNodes(lb); err != nil {
			return fmt.Errorf("load balancer %q: %w", lb.Name, err)
		}
	}
	return nil
}

func (v *validation) loadBalancerNodes(lb *LoadBalancer) error {
	zones := map[string]bool{}
	for _, n := range lb.Nodes {
		if !usable(n.Address) || n.Zone == "" || zones[n.Zone] {
			return fmt.Errorf("node %v in zone %q is invalid or repeated", n.Address, n.Zone)
		}
		zones[n.Zone] = true
		if err := v.inSubnet(n.Subnet); err != nil {
			return fmt.Errorf("node in zone %q: %w", n.Zone, err)
		}
		if len(n.Secondary) > MaxSecondary {
			return fmt.Errorf("node in zone %q has %d secondary addresses, more than %d", n.Zone, len(n.Secondary), MaxSecondary)
		}
		for _, a := range n.Addresses() {
			if err := v.nodeAddress(lb, a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *validation) nodeAddress(lb *LoadBalancer, a netip.Addr) error {
	if !usable(a) {
		return fmt.Errorf("node address %v is invalid", a)
	}
	key := nodeKey{lb.Domain, a}
	if owner, taken := v.nodes[key]; taken {
		return fmt.Errorf("node address %v is already that of %q", a, owner)
	}
	v.nodes[key] = lb.Name
	return nil
}

func (v *validation) listeners(lb *LoadBalancer) error {
	ports := map[uint16]bool{}
	for _, l := range lb.Listeners {
		switch {
		case l.Port == 0 || ports[l.Port]:
			return fmt.Errorf("listener port %d is zero or repeated", l.Port)
		case l.Protocol != TCP && l.Protocol != TLS:
			return fmt.Errorf("listener %d: protocol %q is not known", l.Port, l.Protocol)
		case !v.groups[l.TargetGroup]:
			return fmt.Errorf("listener %d: target group %q does not exist", l.Port, l.TargetGroup)
		case l.IdleTimeout < MinIdleTimeout || l.IdleTimeout > MaxIdleTimeout:
			return fmt.Errorf("listener %d: idle timeout %v is outside %v to %v", l.Port, l.IdleTimeout, MinIdleTimeout, MaxIdleTimeout)
		}
		if err := v.listenerTLS(&l); err != nil {
			return fmt.Errorf("listener %d: %w", l.Port, err)
		}
		ports[l.Port] = true
	}
	return nil
}

func (v *validation) listenerTLS(l *Listener) error {
	if (l.TLS != nil) != (l.Protocol == TLS) {
		return errors.New("TLS settings and protocol TLS come together or not at all")
	}
	if l.TLS == nil {
		return nil
	}
	if m := l.TLS.MinimumVersion; m != "1.2" && m != "1.3" {
		return fmt.Errorf("minimum TLS version %q is neither 1.2 nor 1.3", m)
	}
	if len(l.TLS.Certificates) == 0 {
		return errors.New("no certificate")
	}
	for _, name := range l.TLS.Certificates {
		if !v.certs[name] {
			return fmt.Errorf("certificate %q does not exist", name)
		}
	}
	return nil
}

// Validate reports why the certificate cannot be shown: its chain or key does not parse, or they do not
// fit together.
func (c *Certificate) Validate() error {
	_, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.PrivateKey))
	return err
}

func (v *validation) certificates(g *Gateway) error {
	for _, c := range g.Certificates {
		if c.Name == "" || v.certs[c.Name] {
			return fmt.Errorf("certificate %q: name is empty or taken", c.Name)
		}
		if err := c.Validate(); err != nil {
			return fmt.Errorf("certificate %q: %w", c.Name, err)
		}
		v.certs[c.Name] = true
	}
	return nil
}
