package resource

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"causeway/controlplane/store"
)

const deleting protoreflect.Name = "DELETING"

// Deleting says whether a resource has been deleted by its user and is still being withdrawn.
func Deleting(m proto.Message) bool {
	r := m.ProtoReflect()
	field := r.Descriptor().Fields().ByName("state")
	if field == nil {
		return false
	}
	value := field.Enum().Values().ByName(deleting)
	return value != nil && r.Get(field).Enum() == value.Number()
}

// MarkDeleting sets the state of a resource with a life to DELETING.
func MarkDeleting(m proto.Message) {
	r := m.ProtoReflect()
	field := r.Descriptor().Fields().ByName("state")
	r.Set(field, protoreflect.ValueOfEnum(field.Enum().Values().ByName(deleting).Number()))
}

// Dependents reads the resources that lie below m or refer to it, whatever their state, and adds to
// tx that none has come since: the commit gives [store.ErrConflict] if one has.
func (i *Info) Dependents(ctx context.Context, s *store.Store, tx *store.Txn, m Message) ([]Entry, error) {
	var found []Entry
	for _, other := range all {
		scope, relevant := i.scope(other, m.GetName())
		if !relevant {
			continue
		}
		entries, revision, err := other.list(ctx, s, scope)
		if err != nil {
			return nil, err
		}
		other.guard(tx, scope, revision)
		for _, e := range entries {
			if other.below(i) || e.refersTo(i, m) {
				found = append(found, e)
			}
		}
	}
	if i.users == "" {
		return found, nil
	}
	users, err := i.readUsers(ctx, s, tx, m)
	return append(found, users...), err
}

// readUsers reads the resources that use m by their claims, and guards tx against more of them.
func (i *Info) readUsers(ctx context.Context, s *store.Store, tx *store.Txn, m Message) ([]Entry, error) {
	prefix := m.GetUid() + "/"
	claims, revision, err := s.Claims(ctx, i.users, prefix)
	if err != nil {
		return nil, err
	}
	tx.RequireClaims(i.users, prefix, revision)
	var users []Entry
	for _, claim := range claims {
		for _, kind := range all {
			if !kind.Match(claim.Owner) {
				continue
			}
			e, err := kind.get(ctx, s, claim.Owner)
			if isAbsent(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			users = append(users, e)
		}
	}
	return users, nil
}

// scope says whether resources of another kind can depend on the one called name, and below which
// name they lie.
func (i *Info) scope(other *Info, name string) (scope string, relevant bool) {
	switch {
	case other.below(i):
		return name, true
	case !slices.Contains(other.targets(), i):
		return "", false
	case other.Shared:
		return "", true
	}
	return AccountName(Account(name)), true
}

func (i *Info) targets() []*Info {
	var kinds []*Info
	for _, kind := range i.References {
		kinds = append(kinds, kind)
	}
	return kinds
}

func (e Entry) refersTo(kind *Info, m Message) bool {
	r := e.Message.ProtoReflect()
	for name, to := range e.References {
		if to != kind || !e.keeps(e.Message, name) {
			continue
		}
		field := r.Descriptor().Fields().ByName(name)
		if !field.IsList() {
			if same(r.Get(field).String(), m) {
				return true
			}
			continue
		}
		list := r.Get(field).List()
		for n := range list.Len() {
			if same(list.Get(n).String(), m) {
				return true
			}
		}
	}
	return false
}

func same(reference string, m Message) bool {
	return reference == m.GetName() || reference == m.GetUid()
}
