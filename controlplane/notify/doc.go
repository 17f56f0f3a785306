// Package notify delivers the events of endpoint services to the webhooks that their providers have
// registered: signed, in order, each at least once, whatever happens to the receiver or to this
// process meanwhile.
//
// Events are written to an outbox (see resource.NotificationEvents) by the transaction of the change
// that they tell of. The [Deliverer] posts them one after another for each notification, removes
// what a receiver has accepted, and tries again what it has not. Receivers are chosen by tenants, so
// every connection is made under a [Guard].
package notify
