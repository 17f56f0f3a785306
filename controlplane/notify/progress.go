package notify

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// dropBatch is how many events one transaction drops: a cluster allows 128 operations.
const dropBatch = 100

// progress is what is stored of a delivery. Each write compares its revision, so that of two daemons
// that both believe they deliver, one notices.
type progress struct {
	value *pb.NotificationDelivery
	// stored is the revision of the stored value, 0 if there is none; revision is the last that this
	// worker has read or written.
	stored, revision int64
}

func (w *worker) load(ctx context.Context) error {
	v, err := resource.NotificationDeliveries.Get(ctx, w.d.cfg.Store, w.name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		w.delivery = progress{value: &pb.NotificationDelivery{}, revision: w.delivery.revision}
		return nil
	case err != nil:
		return err
	}
	w.delivery = progress{value: v.Value, stored: v.Revision, revision: max(w.delivery.revision, v.Revision)}
	return nil
}

// commit writes the delivery with what tx holds already. Tx compares an event's revision, which
// shows that the notification still exists: its events go with it.
func (w *worker) commit(ctx context.Context, tx *store.Txn, value *pb.NotificationDelivery) error {
	if w.delivery.stored == 0 {
		resource.NotificationDeliveries.Create(tx, w.name, value)
	} else {
		resource.NotificationDeliveries.Update(tx, w.name, value, w.delivery.stored)
	}
	revision, err := tx.Commit(ctx)
	if err != nil {
		return err
	}
	w.delivery = progress{value: value, stored: revision, revision: revision}
	return nil
}

// changed gives a copy of the delivery to change.
func (w *worker) changed() *pb.NotificationDelivery {
	return proto.Clone(w.delivery.value).(*pb.NotificationDelivery)
}

// delivered takes an event out that the receiver has accepted. It is stored even if the worker is
// told to end meanwhile, so that the event need not be sent again.
func (w *worker) delivered(ctx context.Context, e store.Versioned[*pb.NotificationEvent]) error {
	value := w.changed()
	value.Sequence++
	value.LastSuccessTime = timestamppb.New(w.d.cfg.Now())
	value.LastError = ""
	tx := w.d.cfg.Store.Begin()
	resource.NotificationEvents.Delete(tx, e.Name, e.Revision)
	return w.commit(context.WithoutCancel(ctx), tx, value)
}

// excuse records why an attempt failed, unless that is known.
func (w *worker) excuse(ctx context.Context, e store.Versioned[*pb.NotificationEvent], why string) error {
	if w.delivery.value.GetLastError() == why {
		return nil
	}
	value := w.changed()
	value.LastError = why
	tx := w.d.cfg.Store.Begin()
	resource.NotificationEvents.Require(tx, e.Name, e.Revision)
	return w.commit(ctx, tx, value)
}

// shed drops the oldest events while there are too many, and those that have waited too long. It
// gives the rest.
func (w *worker) shed(ctx context.Context, events queue) (queue, error) {
	extra := max(len(events)-w.d.limits.pending, 0)
	if err := w.drop(ctx, events[:extra], reasonOverflow); err != nil {
		return nil, err
	}
	events = events[extra:]
	since := w.d.cfg.Now().Add(-maxAge)
	fresh := slices.IndexFunc(events, func(e store.Versioned[*pb.NotificationEvent]) bool {
		return e.Value.GetTime().AsTime().After(since)
	})
	if fresh < 0 {
		fresh = len(events)
	}
	return events[fresh:], w.drop(ctx, events[:fresh], reasonAge)
}

// drop takes events out that are given up. Their numbers are used up, so that the receiver sees a
// gap.
func (w *worker) drop(ctx context.Context, events queue, reason string) error {
	for batch := range slices.Chunk(events, dropBatch) {
		value := w.changed()
		value.Sequence += int64(len(batch))
		value.DroppedCount += int64(len(batch))
		tx := w.d.cfg.Store.Begin()
		for _, e := range batch {
			resource.NotificationEvents.Delete(tx, e.Name, e.Revision)
		}
		if err := w.commit(ctx, tx, value); err != nil {
			return err
		}
		w.d.metrics.dropped.WithLabelValues(reason).Add(float64(len(batch)))
		w.log.Warn("events dropped", "count", len(batch), "reason", reason)
	}
	return nil
}
