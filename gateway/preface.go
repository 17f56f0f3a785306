package gateway

import (
	"strings"

	"causeway/gateway/endpoint"
	"causeway/gateway/proxyproto"
)

// prefaceOf makes what connections to the targets of a service begin with, for consumers in a domain: a PROXY protocol
// header if their target group has that at the time.
func prefaceOf(want wantedListener, domain string) func([]byte, endpoint.FlowKey, endpoint.Peer) ([]byte, error) {
	uid, account := proxyproto.Endpoint(want.uid), accountOf(domain)
	return func(b []byte, f endpoint.FlowKey, p endpoint.Peer) ([]byte, error) {
		if !want.service.route.Load().proxyProtocol {
			return b, nil
		}
		identity := proxyproto.Identity{KeyFingerprint: p.KeyFingerprint, Account: account, VPC: domain}
		return proxyproto.AppendProxy(b, f.Consumer, f.Exposure, uid, identity.TLV(), proxyproto.Checksum())
	}
}

// accountOf is the ID of the account in a resource name.
func accountOf(name string) string {
	rest, _ := strings.CutPrefix(name, "accounts/")
	account, _, _ := strings.Cut(rest, "/")
	return account
}
