package api

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

type accounts struct {
	*kernel
	pb.UnsafeAccountsServer
}

// Bootstrap makes the accounts that exist from the start, [OperatorAccount] and [DefaultAccount],
// where they do not yet. It may run any number of times, in several processes at once.
func (a *API) Bootstrap(ctx context.Context) error {
	ctx = WithCaller(ctx, Caller{Account: OperatorAccount, Operator: true, Role: pb.Token_ADMIN, Name: "bootstrap"})
	for _, id := range []string{OperatorAccount, DefaultAccount} {
		_, err := resource.Accounts.Get(ctx, a.kernel.store, resource.AccountName(id))
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("bootstrap account %q: %w", id, err)
		}
		_, err = create(ctx, a.kernel, resource.Accounts, creation[*pb.Account]{id: id, field: "account", value: &pb.Account{}})
		if err != nil && !isExists(err) {
			return fmt.Errorf("bootstrap account %q: %w", id, err)
		}
	}
	return nil
}

func (s *accounts) GetAccount(ctx context.Context, req *pb.GetAccountRequest) (*pb.Account, error) {
	return get(ctx, s.kernel, resource.Accounts, req.GetName())
}

// ListAccounts shows an ordinary caller its own account alone.
func (s *accounts) ListAccounts(ctx context.Context, req *pb.ListAccountsRequest) (*pb.ListAccountsResponse, error) {
	return s.listAccounts(ctx, req)
}

func (s *accounts) listAccounts(ctx context.Context, req *pb.ListAccountsRequest) (*pb.ListAccountsResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if !who.Operator {
		if req.GetPageToken() != "" {
			return nil, listError(store.ErrPageToken)
		}
		own, err := get(ctx, s.kernel, resource.Accounts, resource.AccountName(who.Account))
		if err != nil {
			return nil, err
		}
		return &pb.ListAccountsResponse{Accounts: []*pb.Account{own}}, nil
	}
	items, next, err := listBelow(ctx, s.kernel, resource.Accounts, "", req.GetPageSize(), req.GetPageToken())
	return &pb.ListAccountsResponse{Accounts: items, NextPageToken: next}, err
}

func (s *accounts) CreateAccount(ctx context.Context, req *pb.CreateAccountRequest) (*pb.Account, error) {
	return create(ctx, s.kernel, resource.Accounts, creation[*pb.Account]{
		request: req, id: req.GetAccountId(), requestID: req.GetRequestId(), field: "account", value: req.GetAccount(),
	})
}

func (s *accounts) UpdateAccount(ctx context.Context, req *pb.UpdateAccountRequest) (*pb.Account, error) {
	return update(ctx, s.kernel, resource.Accounts, alteration[*pb.Account]{
		field: "account", value: req.GetAccount(), mask: req.GetUpdateMask(),
	})
}

// DeleteAccount refuses the accounts that exist from the start: they would come back.
func (s *accounts) DeleteAccount(ctx context.Context, req *pb.DeleteAccountRequest) (*emptypb.Empty, error) {
	return s.deleteAccount(ctx, req)
}

func (s *accounts) deleteAccount(ctx context.Context, req *pb.DeleteAccountRequest) (*emptypb.Empty, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	name, err := s.resolve(ctx, who, resource.Accounts.Info, "name", req.GetName(), false)
	if err != nil {
		return nil, err
	}
	if id := resource.Account(name); id == OperatorAccount || id == DefaultAccount {
		return nil, apierr.Precondition(reasonAccountPermanent, "account", req.GetName(), "exists as long as the installation")
	}
	return remove(ctx, s.kernel, resource.Accounts, req.GetName(), req.GetEtag())
}
