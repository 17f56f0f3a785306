package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// subscriber is what the provider is shown of a subscription: not its name.
func subscriber(s *pb.Subscription) *pb.Subscriber {
	return &pb.Subscriber{
		Account: resource.AccountName(resource.Account(s.GetName())), State: s.GetState(), CreateTime: s.GetCreateTime(),
	}
}

// ListSubscribers pages over the claims of the subscriptions to a service.
func (s *endpointServices) ListSubscribers(ctx context.Context, req *pb.ListSubscribersRequest) (*pb.ListSubscribersResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	service, err := find(ctx, s.kernel, who, resource.EndpointServices, "name", req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListSubscribersResponse{}
	resp.NextPageToken, err = pageClaims(ctx, s.kernel, resource.ClaimSubscription, service.Value.GetUid()+"/",
		req.GetPageSize(), req.GetPageToken(), func(claim store.Claim) (bool, error) {
			v, err := resource.Subscriptions.Get(ctx, s.store, claim.Owner)
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
				return false, nil
			}
			if err == nil {
				resp.Subscribers = append(resp.Subscribers, subscriber(v.Value))
			}
			return true, err
		})
	return resp, err
}

// ApproveSubscribers makes subscriptions active. Doing so again changes nothing.
func (s *endpointServices) ApproveSubscribers(ctx context.Context, req *pb.ApproveSubscribersRequest) (*pb.ApproveSubscribersResponse, error) {
	_, subscribers, err := s.answer(ctx, req.GetName(), req.GetSubscribers(), pb.Subscription_ACTIVE)
	if err != nil {
		return nil, err
	}
	return &pb.ApproveSubscribersResponse{Subscribers: subscribers}, nil
}

// RejectSubscribers first takes the permission and then rejects the endpoints if it is to. A
// repetition finishes what was interrupted.
func (s *endpointServices) RejectSubscribers(ctx context.Context, req *pb.RejectSubscribersRequest) (*pb.RejectSubscribersResponse, error) {
	r, err := readRevocation(req.GetRevocation())
	if err != nil {
		return nil, err
	}
	service, subscribers, err := s.answer(ctx, req.GetName(), req.GetSubscribers(), pb.Subscription_REJECTED)
	if err == nil && r.rejects() {
		err = s.rejectStrangers(ctx, service, r, req.GetSubscribers())
	}
	if err != nil {
		return nil, err
	}
	return &pb.RejectSubscribersResponse{Subscribers: subscribers}, nil
}

// answer brings the subscriptions of accounts to a service into a state, in one transaction. It gives
// the service's name.
func (s *endpointServices) answer(ctx context.Context, text string, accounts []string, state pb.Subscription_State) (name string, subscribers []*pb.Subscriber, err error) {
	who, err := caller(ctx)
	if err != nil {
		return "", nil, err
	}
	err = s.attempt(change{caller: who, word: resource.EndpointServices.Word}, func(c *change) error {
		service, err := find(ctx, s.kernel, who, resource.EndpointServices, "name", text)
		if err != nil {
			return err
		}
		if resource.Deleting(service.Value) {
			return beingDeleted(resource.EndpointServices.Info, text)
		}
		c.name, name = service.Name, service.Name
		subscribers = nil
		changed := false
		for n, account := range accounts {
			v, err := c.subscription(ctx, service.Value, fmt.Sprintf("subscribers[%d]", n), account)
			if err != nil {
				return err
			}
			if v.Value.GetState() != state {
				v.Value.State, v.Value.UpdateTime = state, timestamppb.New(c.now)
				resource.Subscriptions.Update(c.tx, v.Name, v.Value, v.Revision)
				changed = true
			}
			subscribers = append(subscribers, subscriber(v.Value))
		}
		if !changed {
			return nil
		}
		resource.EndpointServices.Require(c.tx, service.Name, service.Revision)
		_, err = c.tx.Commit(ctx)
		return err
	})
	return name, subscribers, err
}

// subscription reads the subscription of an account to a service.
func (c *change) subscription(ctx context.Context, service *pb.EndpointService, field, account string) (v store.Versioned[*pb.Subscription], err error) {
	if !resource.Accounts.Match(account) {
		return v, apierr.Invalid(field, "%s is not the name of an account: use accounts/{account}", quote(account))
	}
	v, err = c.subscriptionOf(ctx, service, resource.Account(account))
	if errors.Is(err, store.ErrNotFound) {
		return v, notFound(resource.Subscriptions.Info, account)
	}
	return v, err
}

func (c *change) subscriptionOf(ctx context.Context, service *pb.EndpointService, account string) (v store.Versioned[*pb.Subscription], err error) {
	claim, err := c.store.ClaimOwner(ctx, resource.ClaimSubscription, resource.SubscriptionClaim(service.GetUid(), account).Key)
	if err != nil {
		return v, err
	}
	return resource.Subscriptions.Get(ctx, c.store, claim.Owner)
}

// subscribed says whether an account has an active subscription to a service, and has the transaction
// fail unless that stays so.
func (c *change) subscribed(ctx context.Context, service *pb.EndpointService, account string) (bool, error) {
	if service.GetOffering() != pb.EndpointService_MARKETPLACE {
		return false, nil
	}
	v, err := c.subscriptionOf(ctx, service, account)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil || v.Value.GetState() != pb.Subscription_ACTIVE {
		return false, err
	}
	resource.Subscriptions.Require(c.tx, v.Name, v.Revision)
	return true, nil
}

// rejectStrangers rejects the endpoints of those among principals that may not use a service any more.
func (s *endpointServices) rejectStrangers(ctx context.Context, service string, r revocation, principals []string) error {
	who, err := caller(ctx)
	if err != nil {
		return err
	}
	all := slices.Contains(principals, everyone)
	return s.rejectEach(ctx, who, service, r, func(c *change, service *pb.EndpointService, endpoint string) (bool, error) {
		account := resource.Account(endpoint)
		if !all && !slices.Contains(principals, resource.AccountName(account)) {
			return false, nil
		}
		may, err := c.mayUse(ctx, service, account)
		return !may, err
	})
}
