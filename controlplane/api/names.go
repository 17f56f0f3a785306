package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"causeway/controlplane/apierr"
	"causeway/controlplane/resource"
	"causeway/controlplane/store"
)

// resolve gives the full name that a caller means by text: a full name, one without its account, or
// a uid. It says INVALID_ARGUMENT of what cannot be a name, and NOT_FOUND of another account's names
// unless the kind is shared or foreign ones are asked for. Whether anything has a well-formed name
// it does not say.
func (k *kernel) resolve(ctx context.Context, c Caller, kind *resource.Info, field, text string, foreign bool) (string, error) {
	name, err := k.spelled(ctx, c, kind, field, text)
	if errors.Is(err, errNoUID) && (foreign || kind.Shared) {
		// What is another account's is read before it is refused; so is this, to take as long.
		return kind.Absent(), nil
	}
	if errors.Is(err, errNoUID) {
		return "", notFound(kind, text)
	}
	if err != nil {
		return "", err
	}
	if !foreign && !kind.Shared && !c.owns(resource.Account(name)) {
		return "", notFound(kind, text)
	}
	return name, nil
}

// errNoUID says that no resource of the kind has a uid.
var errNoUID = errors.New("uid of nothing")

func (k *kernel) spelled(ctx context.Context, c Caller, kind *resource.Info, field, text string) (string, error) {
	if resource.IsUID(text) {
		claim, err := k.store.ClaimOwner(ctx, resource.ClaimUID, text)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return "", errNoUID
		case err != nil:
			return "", err
		case !kind.Match(claim.Owner):
			return "", errNoUID
		}
		return claim.Owner, nil
	}
	name := qualify(c, text)
	if !kind.Match(name) {
		return "", malformed(field, text, kind.Word, kind.Pattern())
	}
	return name, nil
}

// qualify adds the caller's account to a name that has none.
func qualify(c Caller, text string) string {
	if strings.HasPrefix(text, "accounts/") {
		return text
	}
	return resource.AccountName(c.Account) + "/" + text
}

func malformed(field, text, word, pattern string) error {
	return apierr.Invalid(field, "%s is not the name of a %s: use %s or a uid", quote(text), word, pattern)
}

// parent gives the full name of what a list or a new resource lies below, as [kernel.resolve] does;
// empty means the caller's account where that is the parent.
func (k *kernel) parent(ctx context.Context, c Caller, kind *resource.Info, text string) (resource.Entry, error) {
	above := kind.Parent()
	if text == "" && above == resource.Accounts.Info {
		text = resource.AccountName(c.Account)
	}
	name, err := k.resolve(ctx, c, above, "parent", text, false)
	if err != nil {
		return resource.Entry{}, err
	}
	entry, err := above.Read(ctx, k.store, name)
	if errors.Is(err, store.ErrNotFound) {
		return resource.Entry{}, notFound(above, text)
	}
	return entry, err
}

// quote shows what a caller wrote, cut to what an error message may carry.
func quote(text string) string {
	const most = 100
	if len(text) > most {
		return fmt.Sprintf("%q...", text[:most])
	}
	return fmt.Sprintf("%q", text)
}
