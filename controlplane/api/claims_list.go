package api

import (
	"context"

	"causeway/controlplane/store"
)

// pageClaims shows the claims of a kind whose keys begin with prefix to visit, in the order of their
// keys, until it has taken a page of them, and gives the token of the next page. A claim that visit
// does not take does not count.
func pageClaims(ctx context.Context, k *kernel, kind, prefix string, asked int32, token string, visit func(store.Claim) (bool, error)) (next string, err error) {
	scope := kind + "/" + prefix
	after, ok := decodePosition(scope, token)
	if !ok {
		return "", listError(store.ErrPageToken)
	}
	size, err := pageSize(asked)
	if err != nil {
		return "", err
	}
	claims, _, err := k.store.Claims(ctx, kind, prefix)
	if err != nil {
		return "", err
	}
	taken := 0
	for _, claim := range claims {
		if claim.Key <= after {
			continue
		}
		if taken == size {
			return encodePosition(scope, after), nil
		}
		took, err := visit(claim)
		if err != nil {
			return "", err
		}
		if took {
			taken++
		}
		after = claim.Key
	}
	return "", nil
}
