package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"causeway/controlplane/resource"
	pb "causeway/proto/causeway/v1"
)

func TestBootstrap(t *testing.T) {
	l := newLab(t)
	for range 2 {
		must(t, l.api.Bootstrap(t.Context()))
	}
	for _, id := range []string{OperatorAccount, DefaultAccount} {
		_, err := l.accounts().GetAccount(l.as(id), &pb.GetAccountRequest{Name: "accounts/" + id})
		must(t, err)
		_, err = l.accounts().DeleteAccount(l.operator(), &pb.DeleteAccountRequest{Name: "accounts/" + id})
		wantError(t, err, codes.FailedPrecondition, "ACCOUNT_PERMANENT")
	}
}

func TestDeleteAccountThatOwnsSomething(t *testing.T) {
	l := newLab(t)
	account := "accounts/" + l.a
	_, err := l.accounts().UpdateAccount(l.as(l.a), &pb.UpdateAccountRequest{Account: &pb.Account{Name: account, DisplayName: new("A")}})
	must(t, err)
	vpc := l.vpc(l.a, "prod", "10.0.0.0/16")
	_, err = l.accounts().DeleteAccount(l.operator(), &pb.DeleteAccountRequest{Name: account})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", vpc.GetName())
	_, err = l.vpcs().DeleteVpc(l.as(l.a), &pb.DeleteVpcRequest{Name: vpc.GetName()})
	must(t, err)
	_, err = l.accounts().DeleteAccount(l.operator(), &pb.DeleteAccountRequest{Name: account})
	wantError(t, err, codes.FailedPrecondition, "HAS_CHILDREN", vpc.GetName())
	purgeVpc(t, vpc)
	_, err = l.accounts().DeleteAccount(l.operator(), &pb.DeleteAccountRequest{Name: account})
	must(t, err)
	_, err = l.vpcs().CreateVpc(l.as(l.a), &pb.CreateVpcRequest{VpcId: "late", Vpc: &pb.Vpc{Region: "us-east-1", CidrBlock: "10.0.0.0/16"}})
	wantError(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
}

func TestListAccountsShowsOthersToTheOperatorAlone(t *testing.T) {
	l := newLab(t)
	own, err := l.accounts().ListAccounts(l.as(l.a), &pb.ListAccountsRequest{})
	must(t, err)
	if len(own.GetAccounts()) != 1 || own.GetAccounts()[0].GetName() != "accounts/"+l.a {
		t.Errorf("%s lists %v", l.a, own)
	}
	all, err := l.accounts().ListAccounts(l.operator(), &pb.ListAccountsRequest{PageSize: 1000})
	must(t, err)
	found := 0
	for _, account := range all.GetAccounts() {
		if name := account.GetName(); name == "accounts/"+l.a || name == "accounts/"+l.b {
			found++
		}
	}
	if found != 2 {
		t.Errorf("the operator lists %v", all)
	}
	_, err = l.accounts().GetAccount(l.as(l.a), &pb.GetAccountRequest{Name: "accounts/" + l.b})
	wantError(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
}

func (l *lab) token(account, id string, token *pb.Token) (*pb.Token, error) {
	return l.accounts().CreateToken(l.as(account), &pb.CreateTokenRequest{TokenId: id, Token: token})
}

func TestTokenSecretIsShownOnce(t *testing.T) {
	l := newLab(t)
	req := &pb.CreateTokenRequest{TokenId: "ci", Token: &pb.Token{Role: pb.Token_VIEWER}, RequestId: "0c0ffee0-0000-4000-8000-00000000000a"}
	made, err := l.accounts().CreateToken(l.as(l.a), req)
	must(t, err)
	secret := made.GetSecret()
	if !strings.HasPrefix(secret, "cwt_") || len(secret) != 47 {
		t.Fatalf("secret %q", secret)
	}
	if life := made.GetExpireTime().AsTime().Sub(made.GetCreateTime().AsTime()); life != 90*24*time.Hour {
		t.Errorf("expires after %v", life)
	}
	hash, _ := hashSecret(secret)
	again, err := l.accounts().CreateToken(l.as(l.a), req)
	must(t, err)
	got, err := l.accounts().GetToken(l.as(l.a), &pb.GetTokenRequest{Name: made.GetUid()})
	must(t, err)
	page, err := l.accounts().ListTokens(l.as(l.a), &pb.ListTokensRequest{})
	must(t, err)
	for _, shown := range []proto.Message{again, got, page} {
		text, err := protojson.Marshal(shown)
		must(t, err)
		if containsAny(string(text), secret, secret[4:], hash) || strings.Contains(string(text), "secret") {
			t.Errorf("shows the secret or its hash: %s", text)
		}
	}
	stored, err := resource.Tokens.Get(t.Context(), sharedStore, made.GetName())
	must(t, err)
	if text, _ := json.Marshal(stored.Value); strings.Contains(string(text), secret[4:]) {
		t.Error("the store holds the secret")
	}
}

func TestAuthenticate(t *testing.T) {
	l := newLab(t)
	must(t, l.api.Bootstrap(t.Context()))
	made, err := l.token(l.a, "ci", &pb.Token{Role: pb.Token_VIEWER})
	must(t, err)
	caller, err := l.api.Authenticate(t.Context(), made.GetSecret())
	must(t, err)
	if want := (Caller{Account: l.a, Role: pb.Token_VIEWER, Name: made.GetName()}); caller != want {
		t.Errorf("caller %v, want %v", caller, want)
	}
	secret := made.GetSecret()
	for _, wrong := range []string{
		"", "cwt_", secret[4:], secret + "A", secret[:46], "cwt_" + strings.Repeat("A", 43), secret[:46] + "\n", strings.ToUpper(secret),
	} {
		if _, err := l.api.Authenticate(t.Context(), wrong); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("authenticate %q: %v", wrong, err)
		}
	}
	operator, err := l.accounts().CreateToken(l.operator(), &pb.CreateTokenRequest{TokenId: l.a + "-root", Token: &pb.Token{Role: pb.Token_ADMIN}})
	must(t, err)
	if caller, err := l.api.Authenticate(t.Context(), operator.GetSecret()); err != nil || !caller.Operator {
		t.Errorf("operator's token gives %v, %v", caller, err)
	}
	l.advance(90*24*time.Hour + time.Second)
	if _, err := l.api.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("authenticate with an expired token: %v", err)
	}
	l.advance(-90*24*time.Hour - time.Second)
	_, err = l.accounts().DeleteToken(l.as(l.a), &pb.DeleteTokenRequest{Name: "tokens/ci"})
	must(t, err)
	if _, err := l.api.Authenticate(t.Context(), secret); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("authenticate with a deleted token: %v", err)
	}
	if _, err := sharedStore.ClaimOwner(t.Context(), resource.ClaimToken, mustHash(t, secret)); err == nil {
		t.Error("a deleted token's claim is left")
	}
}

func mustHash(t *testing.T, secret string) string {
	t.Helper()
	hash, ok := hashSecret(secret)
	if !ok {
		t.Fatalf("no hash of %q", secret)
	}
	return hash
}

func TestTokenRules(t *testing.T) {
	l := newLab(t)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(d)) }
	cases := []struct {
		name   string
		token  *pb.Token
		fields []string
	}{
		{"OK a year", &pb.Token{Role: pb.Token_ADMIN, ExpireTime: at(365 * 24 * time.Hour)}, nil},
		{"bad no role", &pb.Token{}, []string{"token.role"}},
		{"bad role", &pb.Token{Role: 99}, []string{"token.role"}},
		{"bad past", &pb.Token{Role: pb.Token_ADMIN, ExpireTime: at(-time.Second)}, []string{"token.expire_time"}},
		{"bad zero time", &pb.Token{Role: pb.Token_ADMIN, ExpireTime: &timestamppb.Timestamp{}}, []string{"token.expire_time"}},
		{"bad ten years", &pb.Token{Role: pb.Token_ADMIN, ExpireTime: at(3650 * 24 * time.Hour)}, []string{"token.expire_time"}},
		{"bad time", &pb.Token{Role: pb.Token_ADMIN, ExpireTime: &timestamppb.Timestamp{Nanos: 1 << 30}}, []string{"token.expire_time"}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := l.token(l.a, "t", tc.token)
			if tc.fields == nil {
				must(t, err)
				return
			}
			wantField(t, err, tc.fields...)
		})
	}
	_, err := l.accounts().CreateToken(l.as(l.a), &pb.CreateTokenRequest{
		Parent: "accounts/" + l.b, TokenId: "spy", Token: &pb.Token{Role: pb.Token_ADMIN},
	})
	wantError(t, err, codes.NotFound, "ACCOUNT_NOT_FOUND")
}

func FuzzHashSecret(f *testing.F) {
	f.Add("cwt_" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, secret string) {
		if hash, ok := hashSecret(secret); ok && len(hash) != 64 {
			t.Errorf("hash of %q is %q", secret, hash)
		}
	})
}
