package api

import (
	"context"
	"errors"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// get reads one resource by name or uid (AIP-131).
func get[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], text string) (T, error) {
	var none T
	who, err := caller(ctx)
	if err != nil {
		return none, err
	}
	v, err := find(ctx, k, who, kind, "name", text)
	if err != nil {
		return none, err
	}
	return present(ctx, k, v)
}

// find reads what is stored of a resource that the caller sees.
func find[T resource.Message](ctx context.Context, k *kernel, c Caller, kind *resource.Kind[T], field, text string) (store.Versioned[T], error) {
	name, err := k.resolve(ctx, c, kind.Info, field, text, false)
	if err != nil {
		return store.Versioned[T]{}, err
	}
	v, err := kind.Get(ctx, k.store, name)
	if errors.Is(err, store.ErrNotFound) || err == nil && !c.sees(v.Value) {
		return store.Versioned[T]{}, notFound(kind.Info, text)
	}
	return v, err
}

// list reads a page of the resources directly below parent (AIP-132, AIP-158).
func list[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], parent string, size int32, token string) ([]T, string, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, "", err
	}
	above, err := k.parent(ctx, who, kind.Info, parent)
	if err != nil {
		return nil, "", err
	}
	return listBelow(ctx, k, kind, above.Name, size, token)
}

func listBelow[T resource.Message](ctx context.Context, k *kernel, kind *resource.Kind[T], parent string, size int32, token string) ([]T, string, error) {
	page, err := kind.List(ctx, k.store, store.ListOptions{
		Parent: parent, PageSize: int(size), PageToken: token,
	})
	if err != nil {
		return nil, "", listError(err)
	}
	items := make([]T, 0, len(page.Items))
	for _, v := range page.Items {
		m, err := present(ctx, k, v)
		if err != nil {
			return nil, "", err
		}
		items = append(items, m)
	}
	return items, page.NextPageToken, nil
}

// present makes of a stored resource what its readers are shown. The value is theirs afterwards.
func present[T resource.Message](ctx context.Context, k *kernel, v store.Versioned[T]) (T, error) {
	set(v.Value, "etag", v.Etag())
	if err := k.derive(ctx, v.Value); err != nil {
		var none T
		return none, err
	}
	k.observer.Observe(ctx, v.Value)
	return v.Value, nil
}
