package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

const hook = "https://hooks.example.com/causeway"

func (s *shop) notifications() pb.NotificationsClient { return pb.NewNotificationsClient(s.conn) }

// notification makes one of service orders.
func (s *shop) notification(id, url string, events ...pb.Notification_Event) (*pb.Notification, error) {
	return s.notifications().CreateNotification(s.ctx, &pb.CreateNotificationRequest{
		Parent: "endpointServices/orders", NotificationId: id, Notification: &pb.Notification{Url: url, Events: events},
	})
}

// noted gives what waits for a notification of service orders: the types of the events.
func (s *shop) noted(id string) string {
	s.t.Helper()
	var types []string
	for _, e := range s.records(id) {
		types = append(types, e.Value.GetType().String())
	}
	return strings.Join(types, " ")
}

func (s *shop) records(id string) []store.Versioned[*pb.NotificationEvent] {
	s.t.Helper()
	page, err := resource.NotificationEvents.List(s.t.Context(), sharedStore, store.ListOptions{
		Parent: s.full("endpointServices/orders/notifications/" + id), PageSize: store.MaxPageSize,
	})
	must(s.t, err)
	return page.Items
}

func TestEventsAreNotedWithTheirChange(t *testing.T) {
	s := newShop(t)
	service := s.offer("a")
	for id, events := range map[string][]pb.Notification_Event{
		"all": nil, "connects": {pb.Notification_CONNECT}, "deletes": {pb.Notification_DELETE}, "others": {pb.Notification_ACCEPT, pb.Notification_REJECT},
	} {
		_, err := s.notification(id, hook, events...)
		must(t, err)
	}
	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	if _, err := s.endpoint("e", "a"); err == nil {
		t.Error("made twice")
	}
	for id, want := range map[string]string{"all": "CONNECT", "connects": "CONNECT", "deletes": "", "others": ""} {
		if got := s.noted(id); got != want {
			t.Errorf("%s: noted %q, want %q", id, got, want)
		}
	}
	e := s.records("all")[0].Value
	want := &pb.NotificationEvent{
		Id: e.GetId(), Time: endpoint.GetCreateTime(), Type: pb.Notification_CONNECT, Region: "us-east-1",
		ServiceName: service.GetServiceName(), ServiceUid: service.GetUid(),
		EndpointUid: endpoint.GetUid(), ConsumerAccount: "accounts/" + s.a,
	}
	if !proto.Equal(e, want) || !resource.IsUID(e.GetId()) {
		t.Errorf("noted %v, want %v", e, want)
	}
	for range 2 {
		_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: endpoint.GetName()})
		must(t, err)
	}
	for id, want := range map[string]int{"all": 2, "connects": 1, "deletes": 1, "others": 0} {
		if got := s.records(id); len(got) != want {
			t.Errorf("%s: noted %d events, want %d", id, len(got), want)
		}
	}
	shown, err := s.notifications().GetNotification(s.ctx, &pb.GetNotificationRequest{Name: "endpointServices/orders/notifications/all"})
	must(t, err)
	if shown.GetPendingEventCount() != 2 {
		t.Errorf("pending: %d", shown.GetPendingEventCount())
	}
}

// TestNotificationsTakeAllAlong looks for what is left in the store of a notification that went
// alone, and of those that went with their service.
func TestNotificationsTakeAllAlong(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	for n := range 10 {
		_, err := s.notification(fmt.Sprintf("n%d", n), hook)
		must(t, err)
	}
	endpoint, err := s.endpoint("e", "a")
	must(t, err)
	_, err = s.eps.DeleteEndpoint(s.ctx, &pb.DeleteEndpointRequest{Name: endpoint.GetName()})
	must(t, err)
	_, err = s.notifications().DeleteNotification(s.ctx, &pb.DeleteNotificationRequest{Name: "endpointServices/orders/notifications/n0"})
	must(t, err)
	if got := s.records("n0"); len(got) != 0 {
		t.Errorf("events outlive their notification: %v", got)
	}
	if again, err := s.notification("n0", hook); err != nil || again.GetPendingEventCount() != 0 {
		t.Errorf("a new one of the name: %v, %v", again, err)
	}
	if got := len(s.records("n9")); got != 2 {
		t.Errorf("events of others: %d", got)
	}
	_, err = s.svc.DeleteEndpointService(s.ctx, &pb.DeleteEndpointServiceRequest{Name: "endpointServices/orders"})
	must(t, err)
	for what, count := range map[string]func() (int64, error){
		"notifications": func() (int64, error) {
			return resource.Notifications.Count(t.Context(), sharedStore, "accounts/"+s.a)
		},
		"keys": func() (int64, error) {
			return resource.NotificationKeys.Count(t.Context(), sharedStore, "accounts/"+s.a)
		},
		"events": func() (int64, error) {
			return resource.NotificationEvents.Count(t.Context(), sharedStore, "accounts/"+s.a)
		},
	} {
		if n, err := count(); err != nil || n != 0 {
			t.Errorf("%d %s are left: %v", n, what, err)
		}
	}
	_, err = s.notification("late", hook)
	wantError(t, err, codes.FailedPrecondition, "BEING_DELETED")
}

func TestNotificationQuota(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	for n := range 10 {
		_, err := s.notification(fmt.Sprintf("n%d", n), hook)
		must(t, err)
	}
	_, err := s.notification("more", hook)
	wantError(t, err, codes.ResourceExhausted, "QUOTA_EXCEEDED", "10 notifications per endpoint service")
}

// TestSecretIsShownOnce reads a secret by every method that could show it.
func TestSecretIsShownOnce(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	const name = "endpointServices/orders/notifications/n"
	req := &pb.CreateNotificationRequest{
		Parent: "endpointServices/orders", NotificationId: "n", RequestId: "6f1c2a34-0c1e-4b7e-9f41-1f0d6f4f8a11",
		Notification: &pb.Notification{Url: hook, Secret: "mine"},
	}
	made, err := s.notifications().CreateNotification(s.ctx, req)
	must(t, err)
	if !strings.HasPrefix(made.GetSecret(), keyPrefix) || len(made.GetSecret()) < 40 {
		t.Errorf("secret of %d characters", len(made.GetSecret()))
	}
	rotated, err := s.notifications().RotateSecret(s.ctx, &pb.RotateSecretRequest{Name: name, Etag: made.GetEtag()})
	must(t, err)
	if rotated.GetSecret() == made.GetSecret() || !strings.HasPrefix(rotated.GetSecret(), keyPrefix) || rotated.GetEtag() == made.GetEtag() {
		t.Error("the secret or the etag is that before")
	}
	_, err = s.notifications().RotateSecret(s.ctx, &pb.RotateSecretRequest{Name: name, Etag: made.GetEtag()})
	wantError(t, err, codes.Aborted, "ETAG_MISMATCH")
	again, err := s.notifications().CreateNotification(s.ctx, req)
	must(t, err)
	got, err := s.notifications().GetNotification(s.ctx, &pb.GetNotificationRequest{Name: name})
	must(t, err)
	page, err := s.notifications().ListNotifications(s.ctx, &pb.ListNotificationsRequest{Parent: "endpointServices/orders"})
	must(t, err)
	updated, err := s.notifications().UpdateNotification(s.ctx, &pb.UpdateNotificationRequest{
		Notification: &pb.Notification{Name: name, Url: hook + "/2", Secret: "mine"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}},
	})
	must(t, err)
	stored, err := resource.Notifications.Get(t.Context(), sharedStore, s.full(name))
	must(t, err)
	for what, n := range map[string]*pb.Notification{"repeated": again, "got": got, "listed": page.GetNotifications()[0], "updated": updated, "stored": stored.Value} {
		if n.GetSecret() != "" {
			t.Errorf("%s: the secret shows", what)
		}
	}
	key, err := resource.NotificationKeys.Get(t.Context(), sharedStore, s.full(name))
	must(t, err)
	opened, err := s.api.kernel.secrets.Open(key.Value.GetSecret(), s.full(name))
	must(t, err)
	if string(opened) != rotated.GetSecret() || strings.Contains(key.Value.GetSecret(), rotated.GetSecret()) {
		t.Error("what is signed with is not what was shown")
	}
	_, err = s.notifications().RotateSecret(s.as(s.b), &pb.RotateSecretRequest{Name: s.full(name)})
	wantError(t, err, codes.NotFound, "NOTIFICATION_NOT_FOUND")
}

func TestNotificationRules(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	_, err := s.notification("n", hook)
	must(t, err)
	for _, url := range []string{"", "hooks.example.com", "https://127.1/", "https://user@hooks.example.com", "http://10.0.0.1/"} {
		_, err := s.notification("x", url)
		wantField(t, err, "notification.url")
		if url == "" {
			continue
		}
		_, err = s.notifications().UpdateNotification(s.ctx, &pb.UpdateNotificationRequest{Notification: &pb.Notification{Name: "endpointServices/orders/notifications/n", Url: url}})
		wantField(t, err, "notification.url")
	}
	_, err = s.notification("x", hook, pb.Notification_CONNECT, pb.Notification_CONNECT)
	wantField(t, err, "notification.events")
	_, err = s.notification("x", hook, 9)
	wantField(t, err, "notification.events[0]")
}
