package api

import (
	"context"
	"errors"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// OperatorAccount is the account whose callers may act in every other.
const OperatorAccount = "operator"

// DefaultAccount is the account that callers on the unix socket act in.
const DefaultAccount = "default"

// Caller is who makes a call.
type Caller struct {
	// Account is the id of the account that names without one mean: "default".
	Account string
	// Operator says that every account's resources are visible and may be changed.
	Operator bool
	// Role is what the caller may do: read, or change as well.
	Role pb.Token_Role
	// Name says who it is, in logs: a token's resource name, or "unix socket".
	Name string
}

type callerKey struct{}

// WithCaller gives a context in which [CallerFrom] finds the caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom gives the caller of a call; ok is false if none has been established.
func CallerFrom(ctx context.Context) (c Caller, ok bool) {
	c, ok = ctx.Value(callerKey{}).(Caller)
	return c, ok
}

var errNoCaller = errors.New("call without an established caller")

// caller fails closed: a call that reached a handler without a caller is an error of the program.
func caller(ctx context.Context) (Caller, error) {
	c, ok := CallerFrom(ctx)
	if !ok || c.Account == "" {
		return Caller{}, errNoCaller
	}
	return c, nil
}

// owns says whether the caller may act for an account.
func (c Caller) owns(account string) bool { return c.Operator || c.Account == account }

// sees says whether a resource exists as far as the caller is concerned.
func (c Caller) sees(m resource.Message) bool {
	if c.owns(resource.Account(m.GetName())) {
		return true
	}
	peering, ok := m.(*pb.Peering)
	return ok && c.Account == resource.Account(peering.GetPeerVpc())
}
