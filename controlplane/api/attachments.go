package api

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/types/known/emptypb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func (s *vpcs) GetAttachment(ctx context.Context, req *pb.GetAttachmentRequest) (*pb.Attachment, error) {
	return get(ctx, s.kernel, resource.Attachments, req.GetName())
}

func (s *vpcs) ListAttachments(ctx context.Context, req *pb.ListAttachmentsRequest) (*pb.ListAttachmentsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Attachments, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListAttachmentsResponse{Attachments: items, NextPageToken: next}, err
}

func (s *vpcs) CreateAttachment(ctx context.Context, req *pb.CreateAttachmentRequest) (*pb.Attachment, error) {
	return create(ctx, s.kernel, resource.Attachments, creation[*pb.Attachment]{
		request: req, parent: req.GetParent(), id: req.GetAttachmentId(), requestID: req.GetRequestId(),
		field: "attachment", value: req.GetAttachment(), prepare: prepareAttachment,
	})
}

func prepareAttachment(ctx context.Context, c *change, attachment *pb.Attachment) error {
	attachment.State = pb.Attachment_PENDING
	if err := checkPublicKey(attachment.GetPublicKey()); err != nil {
		c.wrong.Add(c.path("public_key"), "%v", err)
		return errViolations
	}
	if err := c.joinGroups(ctx, resource.Parent(resource.Parent(c.name)), quotaAttachmentGroups, nil, attachment.GetSecurityGroups()); err != nil {
		return err
	}
	subnet, err := resource.Subnets.Get(ctx, c.store, resource.Parent(c.name))
	if err != nil {
		return err
	}
	addr, err := c.lowestFree(ctx, subnet.Value, nil)
	if err != nil {
		return err
	}
	attachment.IpAddress = addr.String()
	return nil
}

// lowestFree chooses the address that a resource in a subnet gets, none of those to avoid. The kernel
// claims it.
func (c *change) lowestFree(ctx context.Context, subnet *pb.Subnet, avoid map[netip.Addr]string) (netip.Addr, error) {
	prefix, err := netip.ParsePrefix(subnet.GetCidrBlock())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("stored %s: %w", subnet.GetName(), err)
	}
	pool, err := readAddressPool(ctx, c.store, resource.Parent(subnet.GetName()), prefix)
	if err != nil {
		return netip.Addr{}, err
	}
	for addr := range avoid {
		pool.mark(addr)
	}
	addr, err := pool.take(allocationSkip(c.name, c.try))
	if errors.Is(err, errAddressExhaustion) {
		return addr, apierr.Exhausted(reasonAddressesExhausted, subnet.GetName(),
			"subnet %q in %s has no free address left", subnet.GetName(), prefix)
	}
	return addr, err
}

// UpdateAttachment may give the workload another key; the old one is free at the same moment.
func (s *vpcs) UpdateAttachment(ctx context.Context, req *pb.UpdateAttachmentRequest) (*pb.Attachment, error) {
	return update(ctx, s.kernel, resource.Attachments, alteration[*pb.Attachment]{
		field: "attachment", value: req.GetAttachment(), mask: req.GetUpdateMask(),
		prepare: func(ctx context.Context, c *change, before, after *pb.Attachment) error {
			if err := checkPublicKey(after.GetPublicKey()); err != nil {
				c.wrong.Add(c.path("public_key"), "%v", err)
			}
			vpc := resource.Parent(resource.Parent(c.name))
			return c.joinGroups(ctx, vpc, quotaAttachmentGroups, before.GetSecurityGroups(), after.GetSecurityGroups())
		},
	})
}

func (s *vpcs) DeleteAttachment(ctx context.Context, req *pb.DeleteAttachmentRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Attachments, req.GetName(), req.GetEtag())
}
