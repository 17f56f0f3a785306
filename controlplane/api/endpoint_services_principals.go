package api

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// everyone is the principal that every account is.
const everyone = "*"

// AddPrincipals lets accounts use a service. Whether they exist is not looked at: it would tell.
func (s *endpointServices) AddPrincipals(ctx context.Context, req *pb.AddPrincipalsRequest) (*pb.EndpointService, error) {
	if err := checkPrincipals(req.GetPrincipals(), req.GetAllowEveryone()); err != nil {
		return nil, err
	}
	return s.revise(ctx, req.GetName(), func(service *pb.EndpointService) error {
		had := len(service.GetPrincipals())
		all := slices.Concat(service.GetPrincipals(), req.GetPrincipals())
		slices.Sort(all)
		service.Principals = slices.Compact(all)
		return s.within(ctx, quotaPrincipals, service.GetName(), had, len(service.GetPrincipals()))
	})
}

func checkPrincipals(principals []string, everyoneMeant bool) error {
	var wrong apierr.Violations
	for n, principal := range principals {
		field := fmt.Sprintf("principals[%d]", n)
		switch {
		case principal == everyone && !everyoneMeant:
			wrong.Add(field, "* lets every account create endpoints; set allow_everyone if that is meant")
		case principal != everyone && !resource.Accounts.Match(principal):
			wrong.Add(field, "%s is not the name of an account: use accounts/{account}, or * for everyone", quote(principal))
		}
	}
	return wrong.Err()
}

// RemovePrincipals first closes the service to accounts and then rejects their endpoints if it is to.
// A repetition finishes what was interrupted.
func (s *endpointServices) RemovePrincipals(ctx context.Context, req *pb.RemovePrincipalsRequest) (*pb.EndpointService, error) {
	r, err := readRevocation(req.GetRevocation())
	if err != nil {
		return nil, err
	}
	if err := checkPrincipals(req.GetPrincipals(), true); err != nil {
		return nil, err
	}
	service, err := s.revise(ctx, req.GetName(), func(service *pb.EndpointService) error {
		service.Principals = slices.DeleteFunc(service.GetPrincipals(), func(principal string) bool {
			return slices.Contains(req.GetPrincipals(), principal)
		})
		return nil
	})
	if err != nil || !r.rejects() {
		return service, err
	}
	if err := s.rejectStrangers(ctx, service.GetName(), r, req.GetPrincipals()); err != nil {
		return nil, err
	}
	return service, nil
}

// mayUse says whether an account may create endpoints for a service. The transaction fails if that
// changes, provided that it fails if the service does.
func (c *change) mayUse(ctx context.Context, service *pb.EndpointService, account string) (bool, error) {
	if account == resource.Account(service.GetName()) || service.GetOffering() == pb.EndpointService_PLATFORM ||
		slices.Contains(service.GetPrincipals(), everyone) ||
		slices.Contains(service.GetPrincipals(), resource.AccountName(account)) {
		return true, nil
	}
	return c.subscribed(ctx, service, account)
}

// revise changes what the server keeps of a service.
func (s *endpointServices) revise(ctx context.Context, text string, edit func(*pb.EndpointService) error) (*pb.EndpointService, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	kind := resource.EndpointServices
	var revised *pb.EndpointService
	err = s.attempt(change{caller: who, word: kind.Word}, func(c *change) error {
		v, err := find(ctx, s.kernel, who, kind, "name", text)
		if err != nil {
			return err
		}
		c.name = v.Name
		if resource.Deleting(v.Value) {
			return beingDeleted(kind.Info, text)
		}
		after := proto.Clone(v.Value).(*pb.EndpointService)
		if err := edit(after); err != nil {
			return err
		}
		if !proto.Equal(v.Value, after) {
			after.UpdateTime = timestamppb.New(c.now)
			kind.Update(c.tx, v.Name, after, v.Revision)
			if v.Revision, err = c.tx.Commit(ctx); err != nil {
				return err
			}
		}
		revised, err = present(ctx, s.kernel, store.Versioned[*pb.EndpointService]{Name: v.Name, Value: after, Revision: v.Revision})
		return err
	})
	return revised, err
}
