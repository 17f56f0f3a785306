package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

// ListPeerings shows an account the peerings of its VPCs whichever side asked for them. They lie in
// two places, so the claims that lead to them from either account are what is paged.
func (s *peerings) ListPeerings(ctx context.Context, req *pb.ListPeeringsRequest) (*pb.ListPeeringsResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	parent, err := s.parent(ctx, who, resource.Peerings.Info, req.GetParent())
	if err != nil {
		return nil, err
	}
	account := resource.Account(parent.Name)
	after, ok := decodePosition(account, req.GetPageToken())
	if !ok {
		return nil, listError(store.ErrPageToken)
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, err
	}
	claims, _, err := s.store.Claims(ctx, resource.ClaimPeering, account+"/")
	if err != nil {
		return nil, err
	}
	resp := &pb.ListPeeringsResponse{}
	for _, claim := range claims {
		if claim.Owner <= after {
			continue
		}
		if len(resp.Peerings) == size {
			resp.NextPageToken = encodePosition(account, after)
			break
		}
		v, err := resource.Peerings.Get(ctx, s.store, claim.Owner)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) {
			continue
		}
		if err != nil {
			return nil, err
		}
		peering, err := present(ctx, s.kernel, v)
		if err != nil {
			return nil, err
		}
		resp.Peerings = append(resp.Peerings, peering)
		after = claim.Owner
	}
	return resp, nil
}

func pageSize(asked int32) (int, error) {
	switch {
	case asked < 0:
		return 0, listError(store.ErrInvalid)
	case asked == 0:
		return store.DefaultPageSize, nil
	}
	return min(int(asked), store.MaxPageSize), nil
}

// A position is the name after which the next page begins, with a sum over it and the account. The
// sum notices mistakes and need not resist forgery: a position only skips within what the account
// may see in full.
const positionSum = 8

func encodePosition(account, after string) string {
	return base64.RawURLEncoding.EncodeToString(append(sumPosition(account, after), after...))
}

func decodePosition(account, token string) (after string, ok bool) {
	if token == "" {
		return "", true
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= positionSum || strings.ContainsAny(token, "\r\n") {
		return "", false
	}
	after = string(raw[positionSum:])
	return after, subtle.ConstantTimeCompare(raw[:positionSum], sumPosition(account, after)) == 1
}

func sumPosition(account, after string) []byte {
	sum := sha256.Sum256([]byte(account + "\x00" + after))
	return sum[:positionSum]
}
