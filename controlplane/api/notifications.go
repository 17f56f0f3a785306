package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/apierr"
	"causeway/controlplane/notify"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// keyPrefix lets scanners for leaked secrets know the secret of a notification.
const keyPrefix = "cwn_"

type notifications struct {
	*kernel
	pb.UnsafeNotificationsServer
}

func (s *notifications) GetNotification(ctx context.Context, req *pb.GetNotificationRequest) (*pb.Notification, error) {
	return get(ctx, s.kernel, resource.Notifications, req.GetName())
}

func (s *notifications) ListNotifications(ctx context.Context, req *pb.ListNotificationsRequest) (*pb.ListNotificationsResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Notifications, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListNotificationsResponse{Notifications: items, NextPageToken: next}, err
}

// CreateNotification shows the secret in its first answer only, like CreateToken. Who lost that
// answer rotates the secret.
func (s *notifications) CreateNotification(ctx context.Context, req *pb.CreateNotificationRequest) (*pb.Notification, error) {
	secret, err := s.newKey()
	if err != nil {
		return nil, err
	}
	return create(ctx, s.kernel, resource.Notifications, creation[*pb.Notification]{
		request: req, parent: req.GetParent(), id: req.GetNotificationId(), requestID: req.GetRequestId(),
		field: "notification", value: req.GetNotification(),
		prepare: func(_ context.Context, c *change, n *pb.Notification) error {
			c.checkReceiver(n)
			return c.keepKey(c.name, secret)
		},
		made: func(n *pb.Notification) { n.Secret = secret },
	})
}

// checkReceiver tells at once what the deliverer would refuse at every dial.
func (c *change) checkReceiver(n *pb.Notification) {
	if err := notify.CheckURL(n.GetUrl(), c.receivers); err != nil {
		c.wrong.Add(c.path("url"), "%v", err)
	}
}

func (s *notifications) UpdateNotification(ctx context.Context, req *pb.UpdateNotificationRequest) (*pb.Notification, error) {
	return update(ctx, s.kernel, resource.Notifications, alteration[*pb.Notification]{
		field: "notification", value: req.GetNotification(), mask: req.GetUpdateMask(),
		prepare: func(_ context.Context, c *change, _, after *pb.Notification) error {
			c.checkReceiver(after)
			return nil
		},
	})
}

func (s *notifications) DeleteNotification(ctx context.Context, req *pb.DeleteNotificationRequest) (*emptypb.Empty, error) {
	return s.deleteNotification(ctx, req)
}

func (s *notifications) deleteNotification(ctx context.Context, req *pb.DeleteNotificationRequest) (*emptypb.Empty, error) {
	err := s.attemptOn(ctx, req.GetName(), req.GetEtag(), func(c *change, v store.Versioned[*pb.Notification]) error {
		resource.RemoveNotification(c.tx, v)
		_, err := c.tx.Commit(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// RotateSecret writes the notification, too, so that its etag tells of it and the deliverer tries
// again at once.
func (s *notifications) RotateSecret(ctx context.Context, req *pb.RotateSecretRequest) (*pb.Notification, error) {
	return s.rotateSecret(ctx, req)
}

func (s *notifications) rotateSecret(ctx context.Context, req *pb.RotateSecretRequest) (*pb.Notification, error) {
	secret, err := s.newKey()
	if err != nil {
		return nil, err
	}
	var rotated *pb.Notification
	err = s.attemptOn(ctx, req.GetName(), req.GetEtag(), func(c *change, v store.Versioned[*pb.Notification]) error {
		v.Value.UpdateTime = timestamppb.New(c.now)
		resource.Notifications.Update(c.tx, v.Name, v.Value, v.Revision)
		if err := c.keepKey(v.Name, secret); err != nil {
			return err
		}
		if v.Revision, err = c.tx.Commit(ctx); err != nil {
			return err
		}
		rotated, err = present(ctx, c.kernel, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	rotated.Secret = secret
	return rotated, nil
}

// attemptOn makes a change of one notification that the caller sees and whose etag, if given, is
// current.
func (s *notifications) attemptOn(ctx context.Context, text, etag string, try func(*change, store.Versioned[*pb.Notification]) error) error {
	kind := resource.Notifications
	who, err := caller(ctx)
	if err != nil {
		return err
	}
	return s.attempt(change{caller: who, word: kind.Word}, func(c *change) error {
		v, err := find(ctx, s.kernel, who, kind, "name", text)
		if err != nil {
			return err
		}
		c.name = v.Name
		if stale(etag, v.Revision) {
			return apierr.EtagMismatch(kind.Word, text)
		}
		return try(c, v)
	})
}

// newKey makes a secret of 256 random bits.
func (s *notifications) newKey() (string, error) {
	var raw [secretBytes]byte
	if _, err := io.ReadFull(s.random, raw[:]); err != nil {
		return "", fmt.Errorf("read randomness for a secret: %w", err)
	}
	return keyPrefix + base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

// keepKey adds to the transaction that a notification's secret is kept, sealed.
func (c *change) keepKey(name, secret string) error {
	sealed, err := c.secrets.Seal([]byte(secret), name)
	if err != nil {
		return err
	}
	resource.NotificationKeys.Put(c.tx, name, &pb.NotificationKey{Secret: sealed})
	return nil
}

// countEvents fills in how far the delivery to a notification is. A secret never gets this far.
func (k *kernel) countEvents(ctx context.Context, n *pb.Notification) error {
	n.Secret = ""
	pending, err := resource.NotificationEvents.Count(ctx, k.store, n.GetName())
	if err != nil {
		return err
	}
	n.PendingEventCount = int32(pending)
	delivery, err := resource.NotificationDeliveries.Get(ctx, k.store, n.GetName())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	n.LastSuccessTime = delivery.Value.GetLastSuccessTime()
	n.LastError = delivery.Value.GetLastError()
	n.DroppedEventCount = delivery.Value.GetDroppedCount()
	return nil
}

// removeNotifications adds to the transaction that the notifications among the dependents of a
// service go, and gives the rest.
func (c *change) removeNotifications(dependents []resource.Entry) []resource.Entry {
	var rest []resource.Entry
	for _, d := range dependents {
		n, ok := d.Message.(*pb.Notification)
		if !ok {
			rest = append(rest, d)
			continue
		}
		resource.RemoveNotification(c.tx, store.Versioned[*pb.Notification]{Name: d.Name, Value: n, Revision: d.Revision})
	}
	return rest
}
