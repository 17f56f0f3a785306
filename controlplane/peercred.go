package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// socketAuthType names the security of the unix socket in [credentials.AuthInfo].
const socketAuthType = "peercred"

// socketCaller is what the kernel says of the process at the other end of a unix socket, as of its
// connect(2); see SO_PEERCRED in unix(7).
type socketCaller struct {
	credentials.CommonAuthInfo
	uid uint32
}

// AuthType implements credentials.AuthInfo.
func (socketCaller) AuthType() string { return socketAuthType }

// listenerCredentials secures the connections of one gRPC server by where they come from: those of
// a unix socket by the kernel's word on the peer, all others by TLS.
type listenerCredentials struct {
	tls credentials.TransportCredentials
}

func newListenerCredentials(cfg *tls.Config) listenerCredentials {
	return listenerCredentials{tls: credentials.NewTLS(cfg)}
}

// ServerHandshake implements credentials.TransportCredentials.
func (c listenerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return c.tls.ServerHandshake(conn)
	}
	uid, err := peerUID(socket)
	if err != nil {
		return nil, nil, fmt.Errorf("read peer credentials: %w", err)
	}
	return conn, socketCaller{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		uid:            uid,
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials. These are a server's credentials.
func (c listenerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server cannot call")
}

// Info implements credentials.TransportCredentials.
func (c listenerCredentials) Info() credentials.ProtocolInfo { return c.tls.Info() }

// Clone implements credentials.TransportCredentials.
func (c listenerCredentials) Clone() credentials.TransportCredentials {
	return listenerCredentials{tls: c.tls.Clone()}
}

// OverrideServerName implements credentials.TransportCredentials. Servers have no use for it.
func (c listenerCredentials) OverrideServerName(string) error { return nil }

func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return cred.Uid, nil
}

// callerUID gives the uid behind a call over the unix socket; false for every other call.
func callerUID(ctx context.Context) (uint32, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return 0, false
	}
	caller, ok := p.AuthInfo.(socketCaller)
	return caller.uid, ok
}
