package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	"causeway/controlplane/store"
	pb "causeway/proto/causeway/v1"
)

const (
	// secretPrefix lets scanners for leaked secrets know a token.
	secretPrefix = "cwt_"
	secretBytes  = 32

	tokenLife     = 90 * 24 * time.Hour
	tokenLifeMost = 366 * 24 * time.Hour
)

// ErrUnauthenticated says that a secret is none of a token in force.
var ErrUnauthenticated = errors.New("no valid token")

// Authenticate gives the caller that a token's secret stands for. It gives ErrUnauthenticated for
// what is malformed, unknown, expired or deleted without saying which, and other errors if the store
// does not answer.
func (a *API) Authenticate(ctx context.Context, secret string) (Caller, error) {
	hash, ok := hashSecret(secret)
	if !ok {
		return Caller{}, ErrUnauthenticated
	}
	claim, err := a.kernel.store.ClaimOwner(ctx, resource.ClaimToken, hash)
	if err != nil {
		return Caller{}, unauthenticated(err)
	}
	token, err := resource.Tokens.Get(ctx, a.kernel.store, claim.Owner)
	if err != nil {
		return Caller{}, unauthenticated(err)
	}
	// The lookup found an equal hash, of which time tells nothing about the secret. This comparison
	// keeps a claim that outlived its token from letting anyone in.
	if subtle.ConstantTimeCompare([]byte(token.Value.GetSecret()), []byte(hash)) != 1 ||
		!a.kernel.now().Before(token.Value.GetExpireTime().AsTime()) {
		return Caller{}, ErrUnauthenticated
	}
	account := resource.Account(token.Name)
	return Caller{
		Account:  account,
		Operator: account == OperatorAccount,
		Role:     token.Value.GetRole(),
		Name:     token.Name,
	}, nil
}

func unauthenticated(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnauthenticated
	}
	return fmt.Errorf("authenticate: %w", err)
}

// hashSecret gives the SHA-256 of a secret's random bytes in hexadecimal digits. They are 256 bits
// from a generator, so nothing slower is needed.
func hashSecret(secret string) (string, bool) {
	text, found := strings.CutPrefix(secret, secretPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !found || err != nil || len(raw) != secretBytes {
		return "", false
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), true
}

func (k *kernel) newSecret() (string, error) {
	raw := make([]byte, secretBytes)
	if _, err := io.ReadFull(k.random, raw); err != nil {
		return "", fmt.Errorf("read randomness for a token: %w", err)
	}
	return secretPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

func (s *accounts) GetToken(ctx context.Context, req *pb.GetTokenRequest) (*pb.Token, error) {
	return get(ctx, s.kernel, resource.Tokens, req.GetName())
}

func (s *accounts) ListTokens(ctx context.Context, req *pb.ListTokensRequest) (*pb.ListTokensResponse, error) {
	items, next, err := list(ctx, s.kernel, resource.Tokens, req.GetParent(), req.GetPageSize(), req.GetPageToken())
	return &pb.ListTokensResponse{Tokens: items, NextPageToken: next}, err
}

// CreateToken shows the secret in its first answer only: a repeated request id gives the token
// without it, since nothing keeps the secret. Who lost the first answer deletes the token and makes
// another.
func (s *accounts) CreateToken(ctx context.Context, req *pb.CreateTokenRequest) (*pb.Token, error) {
	secret, err := s.newSecret()
	if err != nil {
		return nil, err
	}
	hash, _ := hashSecret(secret)
	token, err := create(ctx, s.kernel, resource.Tokens, creation[*pb.Token]{
		request: req, parent: req.GetParent(), id: req.GetTokenId(), requestID: req.GetRequestId(),
		field: "token", value: req.GetToken(),
		prepare: func(_ context.Context, c *change, token *pb.Token) error {
			token.Secret = hash
			c.checkExpiry(token)
			return nil
		},
		made: func(token *pb.Token) { token.Secret = secret },
	})
	return token, err
}

func (c *change) checkExpiry(token *pb.Token) {
	switch expire := token.GetExpireTime(); {
	case expire == nil:
		token.ExpireTime = timestamppb.New(c.now.Add(tokenLife))
	case !expire.IsValid():
		c.wrong.Add(c.path("expire_time"), "is not a time")
	case !expire.AsTime().After(c.now):
		c.wrong.Add(c.path("expire_time"), "is past")
	case expire.AsTime().After(c.now.Add(tokenLifeMost)):
		c.wrong.Add(c.path("expire_time"), "is more than a year ahead")
	}
}

func (s *accounts) DeleteToken(ctx context.Context, req *pb.DeleteTokenRequest) (*emptypb.Empty, error) {
	return remove(ctx, s.kernel, resource.Tokens, req.GetName(), req.GetEtag())
}
