package resource

import (
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// What is kept of a notification beside the resource itself, so that its delivery does not get into
// the way of those who change it. All of it goes in the transaction that removes the notification.
var (
	// NotificationKeys holds the sealed secret of each notification under its name.
	NotificationKeys = store.NewCollection[*pb.NotificationKey]("notificationKeys")
	// NotificationEvents is the outbox: events to be delivered, named
	// <notification's name>/<event's id>. They are written in the transaction of what they tell of, so
	// the order of their creation is that of the commits; within one commit it is their position.
	NotificationEvents = store.NewCollection[*pb.NotificationEvent]("notificationEvents")
	// NotificationDeliveries holds how far the delivery to each notification is, under its name.
	// There is none before the first attempt.
	NotificationDeliveries = store.NewCollection[*pb.NotificationDelivery]("notificationDeliveries")
)

// RemoveNotification adds to a transaction that a notification goes with all that belongs to it.
func RemoveNotification(tx *store.Txn, v store.Versioned[*pb.Notification]) {
	Notifications.Remove(tx, v)
	NotificationKeys.Drop(tx, v.Name)
	NotificationDeliveries.Drop(tx, v.Name)
	NotificationEvents.DropBelow(tx, v.Name)
}
