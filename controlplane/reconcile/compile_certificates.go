package reconcile

import (
	"errors"
	"fmt"

	"causeway/gateway/spec"
	pb "causeway/proto/causeway/v1"
)

// certificates are those in the store, by name, and those of them that listeners show.
type certificates struct {
	secrets Opener
	stored  list[*pb.Certificate]
	byName  map[string]*pb.Certificate
	opened  map[string]spec.Certificate
	objects map[string]string
}

func (c *compiler) certificates() *certificates {
	all := &certificates{
		secrets: c.opts.secrets, stored: c.in.certificates,
		byName: map[string]*pb.Certificate{}, opened: map[string]spec.Certificate{},
		objects: c.out.objects,
	}
	for _, v := range c.in.certificates {
		all.byName[v.Name] = v.Value
	}
	return all
}

// listener gives how a TLS listener ends TLS. It goes on without certificates that are not usable as long as
// it has another, and the reason stays with the certificate.
func (c *certificates) listener(m *pb.Listener) (*spec.ListenerTLS, error) {
	settings := &spec.ListenerTLS{MinimumVersion: "1.2", ALPN: m.GetAlpnProtocols()}
	if m.GetMinimumTlsVersion() == pb.Listener_TLS_1_3 {
		settings.MinimumVersion = "1.3"
	}
	why := errors.New("it has no certificate")
	for _, name := range m.GetCertificates() {
		if err := c.open(name); err != nil {
			why = fmt.Errorf("certificate %q: %w", name, err)
			c.objects[name] = err.Error()
			continue
		}
		settings.Certificates = append(settings.Certificates, name)
	}
	if len(settings.Certificates) == 0 {
		return nil, why
	}
	return settings, nil
}

// open makes a certificate one of those that are shown.
func (c *certificates) open(name string) error {
	if _, done := c.opened[name]; done {
		return nil
	}
	m := c.byName[name]
	if m == nil {
		return errors.New("it does not exist")
	}
	key, err := c.secrets.Open(m.GetPrivateKey(), name)
	if err != nil {
		return err
	}
	certificate := spec.Certificate{Name: name, Chain: m.GetCertificateChain(), PrivateKey: spec.Secret(key)}
	if err := certificate.Validate(); err != nil {
		return err
	}
	c.opened[name] = certificate
	return nil
}

// shown gives the certificates that listeners show, in the order of their names.
func (c *certificates) shown() []spec.Certificate {
	var list []spec.Certificate
	for _, v := range c.stored {
		if certificate, ok := c.opened[v.Name]; ok {
			list = append(list, certificate)
		}
	}
	return list
}
