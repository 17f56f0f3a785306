package gateway

import (
	"crypto/tls"
	"reflect"

	"causeway/gateway/spec"
)

// listenerKey names a listener of a load balancer.
type listenerKey struct {
	balancer string
	port     uint16
}

// tlsListener is how a listener ends TLS. It stays the same object while what it is made of does, and with it the keys
// of its session tickets.
type tlsListener struct {
	settings     spec.ListenerTLS
	certificates []spec.Certificate
	config       *tls.Config
}

// applyTLS makes the settings of all TLS listeners. Connections that begin later take the new ones.
func (g *Gateway) applyTLS(s *spec.Gateway) {
	certificates := map[string]spec.Certificate{}
	for _, c := range s.Certificates {
		certificates[c.Name] = c
	}
	before := g.served.tls
	g.served.tls = map[listenerKey]*tlsListener{}
	for _, lb := range s.LoadBalancers {
		for _, l := range lb.Listeners {
			if l.TLS == nil {
				continue
			}
			key := listenerKey{lb.Name, l.Port}
			want := &tlsListener{settings: *l.TLS}
			for _, name := range l.TLS.Certificates {
				want.certificates = append(want.certificates, certificates[name])
			}
			if have := before[key]; have != nil && have.same(want) {
				want = have
			} else {
				want.config = want.make()
			}
			g.served.tls[key] = want
		}
	}
}

func (t *tlsListener) same(o *tlsListener) bool {
	return reflect.DeepEqual(t.settings, o.settings) && reflect.DeepEqual(t.certificates, o.certificates)
}

// make gives the settings in the form that package tls wants. It shows the first certificate that suits the client's
// server name and algorithms, and the first of all when none does.
func (t *tlsListener) make() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: t.settings.ALPN}
	if t.settings.MinimumVersion == "1.3" {
		config.MinVersion = tls.VersionTLS13
	}
	for _, c := range t.certificates {
		pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.PrivateKey))
		if err != nil {
			panic(err) // the spec is valid
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return config
}

// tlsConfig gives the settings of a listener; nil when it does not end TLS.
func (g *Gateway) tlsConfig(balancer string, port uint16) *tls.Config {
	if t := g.served.tls[listenerKey{balancer, port}]; t != nil {
		return t.config
	}
	return nil
}
