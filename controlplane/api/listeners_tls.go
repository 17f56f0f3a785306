package api

import (
	"context"
	"fmt"
	"slices"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// completeTLS checks and completes what belongs to TLS listeners alone.
func (c *change) completeTLS(ctx context.Context, listener *pb.Listener) error {
	if listener.GetProtocol() != pb.Listener_TLS {
		c.refuseTLS(listener)
		return nil
	}
	if listener.GetMinimumTlsVersion() == pb.Listener_TLS_VERSION_UNSPECIFIED {
		listener.MinimumTlsVersion = pb.Listener_TLS_1_2
	}
	names := listener.GetCertificates()
	if len(names) == 0 {
		c.wrong.Add(c.path("certificates"), "must name at least one certificate: the listener's protocol is TLS")
	}
	for n := range names {
		field := fmt.Sprintf("certificates[%d]", n)
		certificate, err := reference(ctx, c, resource.Certificates, field, &names[n])
		if err != nil {
			return err
		}
		if first := slices.Index(names[:n], certificate.Name); first >= 0 {
			c.wrong.Add(c.path(field), "%s repeats certificates[%d]", quote(certificate.Name), first)
		}
	}
	return nil
}

// refuseTLS notes settings that a plain listener has no use for.
func (c *change) refuseTLS(listener *pb.Listener) {
	for _, setting := range []struct {
		field string
		given bool
	}{
		{"certificates", len(listener.GetCertificates()) > 0},
		{"minimum_tls_version", listener.GetMinimumTlsVersion() != pb.Listener_TLS_VERSION_UNSPECIFIED},
		{"alpn_protocols", len(listener.GetAlpnProtocols()) > 0},
	} {
		if setting.given {
			c.wrong.Add(c.path(setting.field), "is for listeners of protocol TLS; leave it out for TCP")
		}
	}
}
