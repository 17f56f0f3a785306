package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// A target that is the address of an endpoint of its own VPC gets its own connections back, without
// end. Both ways to make one are refused: each guards its commit against the other.

// refuseLoops refuses targets that are network interfaces of endpoints of the VPC. No endpoint is
// made there until the commit.
func (c *change) refuseLoops(ctx context.Context, vpc string, targets []registration) error {
	revision, err := c.store.Revision(ctx)
	if err != nil {
		return err
	}
	for n, target := range targets {
		claim := resource.AddressClaim(vpc, target.Addr().String())
		held, err := c.store.ClaimOwner(ctx, claim.Kind, claim.Key)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case resource.Endpoints.Match(held.Owner):
			c.wrong.Add(fmt.Sprintf("targets[%d].ip_address", n), "%s is the address of endpoint %s of the same VPC; connections to it would go round in a loop",
				quote(target.Addr().String()), quote(held.Owner))
		}
	}
	if c.wrong.Len() > 0 {
		return errViolations
	}
	resource.Endpoints.RequireUnchanged(c.tx, vpc, revision)
	return nil
}

// targeted gives the addresses that are targets in a VPC, each with the name of a group that has it.
// No targets are registered in the account until the commit.
func (c *change) targeted(ctx context.Context, vpc string) (map[netip.Addr]string, error) {
	account := resource.AccountName(resource.Account(vpc))
	groups, revision, err := resource.TargetGroups.ReadAll(ctx, c.store, account)
	if err != nil {
		return nil, err
	}
	resource.Targets.RequireUnchanged(c.tx, account, revision)
	addrs := make(map[netip.Addr]string)
	for _, group := range groups {
		if group.Message.(*pb.TargetGroup).GetVpc() != vpc {
			continue
		}
		targets, err := c.targets(ctx, group.Name)
		if err != nil {
			return nil, err
		}
		for _, target := range targets {
			addrs[target.Addr()] = group.Name
		}
	}
	return addrs, nil
}
