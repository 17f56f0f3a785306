package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

const (
	wordQuota    = "quota"
	patternQuota = "accounts/{account}/quotas/{quota}"
)

func (s *accounts) GetQuota(ctx context.Context, req *pb.GetQuotaRequest) (*pb.Quota, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	q, account, err := s.findQuota(ctx, who, "name", req.GetName())
	if err != nil {
		return nil, err
	}
	shown, _, err := s.showQuota(ctx, q, account)
	return shown, err
}

// ListQuotas gives all quotas there are, whether the operator has set them or not.
func (s *accounts) ListQuotas(ctx context.Context, req *pb.ListQuotasRequest) (*pb.ListQuotasResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	// Tokens lie where quotas do.
	parent, err := s.parent(ctx, who, resource.Tokens.Info, req.GetParent())
	if err != nil {
		return nil, err
	}
	account := resource.Account(parent.Name)
	after, ok := decodePosition(account, req.GetPageToken())
	if !ok {
		return nil, listError(store.ErrPageToken)
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	resp := &pb.ListQuotasResponse{}
	for _, q := range quotas {
		switch {
		case q.id <= after:
			continue
		case len(resp.Quotas) == size:
			resp.NextPageToken = encodePosition(account, after)
			return resp, nil
		}
		shown, _, err := s.showQuota(ctx, q, account)
		if err != nil {
			return nil, err
		}
		resp.Quotas = append(resp.Quotas, shown)
		after = q.id
	}
	return resp, nil
}

func (s *accounts) UpdateQuota(ctx context.Context, req *pb.UpdateQuotaRequest) (*pb.Quota, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	var made *pb.Quota
	err = s.attempt(change{caller: who, word: wordQuota, field: "quota"}, func(c *change) error {
		q, account, err := s.findQuota(ctx, who, c.path("name"), req.GetQuota().GetName())
		if err != nil {
			return err
		}
		c.name = quotaName(account, q.id)
		if err := c.setQuota(ctx, q, account, req); err != nil {
			return err
		}
		made, _, err = s.showQuota(ctx, q, account)
		return err
	})
	return made, err
}

// setQuota stores the value that a quota shall have, or nothing where that is the default.
func (c *change) setQuota(ctx context.Context, q *quota, account string, req *pb.UpdateQuotaRequest) error {
	before, revision, err := c.showQuota(ctx, q, account)
	if err != nil {
		return err
	}
	if stale(req.GetQuota().GetEtag(), revision) {
		return apierr.EtagMismatch(wordQuota, req.GetQuota().GetName())
	}
	after := proto.Clone(before).(*pb.Quota)
	merge(after, req.GetQuota(), req.GetUpdateMask(), &c.wrong)
	if after.Value == nil {
		after.Value = new(q.standard)
	}
	if err := c.wrong.AddRules(c.field, c.validator.Validate(after)); err != nil {
		return err
	}
	if q.maximum > 0 && after.GetValue() > q.maximum {
		c.wrong.Add(c.path("value"), "%d is more than the maximum, %d", after.GetValue(), q.maximum)
	}
	if err := c.wrong.Err(); err != nil || after.GetValue() == before.GetValue() {
		return err
	}
	resource.Accounts.Require(c.tx, resource.AccountName(account), 0)
	stored := &pb.Quota{Name: c.name, Value: after.Value, UpdateTime: timestamppb.New(c.now)}
	switch {
	case after.GetValue() == q.standard && revision > 0:
		resource.Quotas.Delete(c.tx, c.name, revision)
	case revision > 0:
		resource.Quotas.Update(c.tx, c.name, stored, revision)
	default:
		resource.Quotas.Create(c.tx, c.name, stored)
	}
	_, err = c.tx.Commit(ctx)
	if errors.Is(err, store.ErrExists) {
		return &store.ConditionError{Err: store.ErrConflict, Collection: resource.Quotas.ID(), Name: c.name}
	}
	return err
}

// findQuota gives the quota and the account that a name stands for. That of an account that the
// caller does not act for is as absent as one of no account.
func (k *kernel) findQuota(ctx context.Context, c Caller, field, text string) (q *quota, account string, err error) {
	name := qualify(c, text)
	account = resource.Account(name)
	id, below := strings.CutPrefix(name, resource.AccountName(account)+"/quotas/")
	if !below || !resource.IsID(account) || !resource.IsID(id) {
		return nil, "", apierr.Invalid(field, "%s is not the name of a quota: use %s", quote(text), patternQuota)
	}
	if !c.owns(account) {
		return nil, "", apierr.NotFound(wordQuota, text)
	}
	_, err = resource.Accounts.Get(ctx, k.store, resource.AccountName(account))
	absent := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !absent:
		return nil, "", err
	case absent || quotaByID(id) == nil:
		return nil, "", apierr.NotFound(wordQuota, text)
	}
	return quotaByID(id), account, nil
}

// showQuota gives a quota as readers see it, and the revision of what is stored of it, 0 for nothing.
func (k *kernel) showQuota(ctx context.Context, q *quota, account string) (*pb.Quota, int64, error) {
	shown := &pb.Quota{
		Name: quotaName(account, q.id), Value: new(q.standard), DefaultValue: q.standard,
		Unit: q.unit, Scope: q.per.Word, Description: q.description,
	}
	if q.maximum > 0 {
		shown.Maximum = new(q.maximum)
	}
	stored, err := resource.Quotas.Get(ctx, k.store, shown.GetName())
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, 0, err
	default:
		shown.Value, shown.UpdateTime = stored.Value.Value, stored.Value.GetUpdateTime()
	}
	shown.Etag = store.FormatEtag(stored.Revision)
	if q.of == nil || q.per != resource.Accounts.Info {
		return shown, stored.Revision, nil
	}
	used, _, err := k.used(ctx, q, resource.AccountName(account))
	if err != nil {
		return nil, 0, err
	}
	shown.Used = new(int32(used))
	return shown, stored.Revision, nil
}

// dropQuotas adds to the deletion of an account that what is set of its quotas goes with it: another
// account of the name begins with the defaults.
func (c *change) dropQuotas(ctx context.Context) error {
	page, err := resource.Quotas.List(ctx, c.store, store.ListOptions{Parent: c.name, PageSize: store.MaxPageSize})
	if err != nil {
		return err
	}
	resource.Quotas.RequireUnchanged(c.tx, c.name, page.Revision)
	for _, v := range page.Items {
		resource.Quotas.Delete(c.tx, v.Name, v.Revision)
	}
	return nil
}
