package api

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

// eventUID begins the ids of events.
const eventUID = "evt"

// notify has an event of a service's endpoint delivered to those of the service's notifications that
// want it, if and only if the change is committed. The endpoint, of whatever account, has its name
// and uid already. It costs the transaction a comparison and a write per notification, of
// which the quota notifications-per-service allows few.
func (c *change) notify(ctx context.Context, service *pb.EndpointService, event pb.Notification_Event, endpoint *pb.Endpoint) error {
	all, _, err := resource.Notifications.ReadAll(ctx, c.store, service.GetName())
	if err != nil {
		return err
	}
	id, err := c.newUID(eventUID)
	if err != nil {
		return err
	}
	record := &pb.NotificationEvent{
		Id: id, Type: event, Time: timestamppb.New(c.now), Position: c.events,
		Region: service.GetRegion(), ServiceName: service.GetServiceName(), ServiceUid: service.GetUid(),
		EndpointUid:     endpoint.GetUid(),
		ConsumerAccount: resource.AccountName(resource.Account(endpoint.GetName())),
	}
	c.events++
	for _, e := range all {
		wanted := e.Message.(*pb.Notification).GetEvents()
		if len(wanted) > 0 && !slices.Contains(wanted, event) {
			continue
		}
		e.Require(c.tx) // what is removed takes its events along, and must get no more
		// Nobody else has the name, and a deletion must not be refused for want of space.
		resource.NotificationEvents.Put(c.tx, e.Name+"/"+id, record)
	}
	return nil
}

// notifyByName is notify for the service that an endpoint names, if that still exists.
func (c *change) notifyByName(ctx context.Context, event pb.Notification_Event, endpoint *pb.Endpoint) error {
	service, err := c.serviceOf(ctx, endpoint)
	if err != nil || service.Value == nil {
		return err
	}
	return c.notify(ctx, service.Value, event, endpoint)
}
