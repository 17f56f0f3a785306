package api

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// reasonSubscriptionRejected is of FAILED_PRECONDITION.
const reasonSubscriptionRejected = "SUBSCRIPTION_REJECTED"

type subscriptions struct {
	*kernel
	pb.UnsafeSubscriptionsServer
}

func (s *subscriptions) GetSubscription(ctx context.Context, req *pb.GetSubscriptionRequest) (*pb.Subscription, error) {
	return get(ctx, s.kernel, resource.Subscriptions, req.GetName())
}

func (s *subscriptions) ListSubscriptions(ctx context.Context, req *pb.ListSubscriptionsRequest) (*pb.ListSubscriptionsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Subscriptions, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListSubscriptionsResponse{Subscriptions: items, NextPageToken: next}, err
}

func (s *subscriptions) CreateSubscription(ctx context.Context, req *pb.CreateSubscriptionRequest) (*pb.Subscription, error) {
	return create(ctx, s.kernel, resource.Subscriptions, creation[*pb.Subscription]{
		request: req, parent: req.GetParent(), id: req.GetSubscriptionId(), requestID: req.GetRequestId(),
		field: "subscription", value: req.GetSubscription(),
		prepare: func(ctx context.Context, c *change, m *pb.Subscription) error {
			service, err := c.findListed(ctx, c.caller, c.path("service_name"), m.GetServiceName())
			if err != nil {
				return err
			}
			resource.EndpointServices.Require(c.tx, service.Name, service.Revision)
			m.ServiceName, m.ServiceUid = service.Value.GetServiceName(), service.Value.GetUid()
			m.State = pb.Subscription_ACTIVE
			if service.Value.GetListing().GetApprovalRequired() {
				m.State = pb.Subscription_PENDING_APPROVAL
			}
			return nil
		},
	})
}

// DeleteSubscription refuses while endpoints of the account use the service, and names them. A
// rejected subscription stays while the service does, unless the operator removes it.
func (s *subscriptions) DeleteSubscription(ctx context.Context, req *pb.DeleteSubscriptionRequest) (*emptypb.Empty, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	kind := resource.Subscriptions
	err = s.attempt(change{caller: who, word: kind.Word}, func(c *change) error {
		v, err := find(ctx, s.kernel, who, kind, "name", req.GetName())
		if err != nil {
			return err
		}
		c.name = v.Name
		if stale(req.GetEtag(), v.Revision) {
			return apierr.EtagMismatch(kind.Word, req.GetName())
		}
		if err := c.mayUnsubscribe(ctx, v, req.GetName()); err != nil {
			return err
		}
		kind.Remove(c.tx, v)
		_, err = c.tx.Commit(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (c *change) mayUnsubscribe(ctx context.Context, v store.Versioned[*pb.Subscription], text string) error {
	open, err := c.serviceExists(ctx, v.Value)
	if err != nil || !open {
		return err
	}
	if v.Value.GetState() == pb.Subscription_REJECTED && !c.caller.Operator {
		return apierr.Precondition(reasonSubscriptionRejected, resource.Subscriptions.Word, text,
			"was rejected by the service's provider, who alone can change that")
	}
	prefix := v.Value.GetServiceUid() + "/"
	claims, revision, err := c.store.Claims(ctx, resource.ClaimUse, prefix)
	if err != nil {
		return err
	}
	c.tx.RequireClaims(resource.ClaimUse, prefix, revision)
	var users []string
	for _, claim := range claims {
		if resource.Account(claim.Owner) == resource.Account(v.Name) {
			users = append(users, claim.Owner)
		}
	}
	if len(users) > 0 {
		return hasChildren(resource.Subscriptions.Info, text, slices.Sorted(slices.Values(users)))
	}
	return nil
}

// serviceExists says whether the service of a subscription is still there.
func (k *kernel) serviceExists(ctx context.Context, m *pb.Subscription) (bool, error) {
	service, err := k.serviceOf(ctx, m)
	return service.Value != nil && !resource.Deleting(service.Value), err
}
