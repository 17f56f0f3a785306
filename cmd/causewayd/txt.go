package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"causeway/controlplane/proof"
)

// txtTimeout is how long one name server has for an answer before the next is asked.
const txtTimeout = 1500 * time.Millisecond

// txtServers asks name servers for TXT records, one after the other until one answers. It implements
// [proof.Resolver].
type txtServers []*net.Resolver

var _ proof.Resolver = txtServers{}

// newTXTServers asks the given name servers, or those of the host where there are none.
func newTXTServers(servers []netip.AddrPort) txtServers {
	if len(servers) == 0 {
		return txtServers{net.DefaultResolver}
	}
	var list txtServers
	for _, server := range servers {
		list = append(list, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.String())
		}})
	}
	return list
}

// LookupTXT implements proof.Resolver. That a name does not exist is an answer.
func (t txtServers) LookupTXT(ctx context.Context, name string) (values []string, err error) {
	for _, server := range t {
		values, err = lookupTXT(ctx, server, name)
		if failed, ok := errors.AsType[*net.DNSError](err); err == nil || ok && failed.IsNotFound {
			return values, err
		}
	}
	return nil, err
}

func lookupTXT(ctx context.Context, server *net.Resolver, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, txtTimeout)
	defer cancel()
	return server.LookupTXT(ctx, name)
}
