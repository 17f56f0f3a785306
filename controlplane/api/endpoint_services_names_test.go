package api

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	pb "causeway/proto/causeway/v1"
)

// txtRecords is a DNS with TXT records, by names that end in a dot.
type txtRecords struct {
	mu     sync.Mutex
	values map[string][]string
	fail   error
	asked  []string
	// before is called before an answer if it is not nil.
	before func()
}

// LookupTXT implements proof.Resolver.
func (r *txtRecords) LookupTXT(_ context.Context, name string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, name)
	if before := r.before; before != nil {
		r.before = nil
		before()
	}
	values := r.values[name]
	switch {
	case r.fail != nil:
		return nil, r.fail
	case values == nil:
		return nil, &net.DNSError{Err: "no such host", Name: name, Server: "10.99.99.99:53", IsNotFound: true}
	}
	return values, nil
}

// set makes these all there is; questions fail if fail is not nil.
func (r *txtRecords) set(values map[string][]string, fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values, r.fail, r.asked = maps.Clone(values), fail, nil
}

// rename gives service orders a private DNS name.
func (s *shop) rename(name string) (*pb.EndpointService, error) {
	return s.svc.UpdateEndpointService(s.ctx, &pb.UpdateEndpointServiceRequest{EndpointService: &pb.EndpointService{
		Name: "endpointServices/orders", PrivateDnsName: name}})
}

func (s *shop) verify() (*pb.PrivateDnsNameVerification, error) {
	service, err := s.svc.VerifyPrivateDnsName(s.ctx, &pb.VerifyPrivateDnsNameRequest{Name: "endpointServices/orders"})
	return service.GetPrivateDnsNameVerification(), err
}

// prove makes a name service orders' own, with proof.
func (s *shop) prove(name string) {
	s.t.Helper()
	service, err := s.rename(name)
	must(s.t, err)
	proof := service.GetPrivateDnsNameVerification()
	s.txt.set(map[string][]string{proof.GetRecordName() + ".": {proof.GetRecordValue()}}, nil)
	if proof, err = s.verify(); err != nil || proof.GetState() != pb.PrivateDnsNameVerification_VERIFIED {
		s.t.Fatalf("%s is not proven: %v, %v", name, proof, err)
	}
}

func TestVerifyPrivateDnsName(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	_, err := s.verify()
	wantError(t, err, codes.FailedPrecondition, reasonNoPrivateName, "has no private_dns_name")
	service, err := s.rename("*.a.orders.example.com")
	must(t, err)
	proof := service.GetPrivateDnsNameVerification()
	label, domain, _ := strings.Cut(proof.GetRecordName(), ".")
	if domain != "a.orders.example.com" || proof.GetDomain() != domain || label[0] != '_' || len(label) < 17 || !strings.HasPrefix(proof.GetRecordValue(), "vpce:") {
		t.Errorf("proof %v", proof)
	}
	value := proof.GetRecordValue()
	timeout := &net.DNSError{Err: "i/o timeout", Server: "10.99.99.99:53", IsTimeout: true}
	const (
		pending  = pb.PrivateDnsNameVerification_PENDING_VERIFICATION
		verified = pb.PrivateDnsNameVerification_VERIFIED
		failed   = pb.PrivateDnsNameVerification_FAILED
	)
	steps := []struct {
		name    string
		records map[string][]string
		fail    error
		state   pb.PrivateDnsNameVerification_State
		message string
	}{
		{"servers fail at first", nil, errors.New("server misbehaving"), pending, "failed to answer for _"},
		{"nothing there", nil, nil, failed, "there is no TXT record at _"},
		{"another value", map[string][]string{label + "." + domain + ".": {"vpce:x", "y"}}, nil, failed, "there are 2 TXT records"},
		{"the value in lower case", map[string][]string{label + "." + domain + ".": {strings.ToLower(value)}}, nil, failed, "upper and lower case count"},
		{"among others", map[string][]string{label + "." + domain + ".": {"y", value}}, nil, verified, ""},
		{"time runs out when it is proven", nil, timeout, verified, "no DNS server answered in time"},
		{"lapsed", nil, nil, failed, "there is no TXT record"},
		{"time runs out when it has failed", nil, timeout, failed, "no DNS server answered in time"},
		{"without the label", map[string][]string{domain + ".": {value}}, nil, verified, ""},
		{"at a parent", map[string][]string{label + ".orders.example.com.": {value}}, nil, verified, ""},
		{"at the base", map[string][]string{label + ".example.com.": {value}}, nil, verified, ""},
		{"at the base without the label", map[string][]string{"example.com.": {value}}, nil, verified, ""},
		{"at the top", map[string][]string{label + ".com.": {value}, "com.": {value}}, nil, failed, "there is no TXT record"},
		{"beside", map[string][]string{label + ".b.orders.example.com.": {value}}, nil, failed, "there is no TXT record"},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			s.txt.set(step.records, step.fail)
			proof, err := s.verify()
			must(t, err)
			if proof.GetState() != step.state || !strings.HasPrefix(proof.GetStateMessage(), step.message) && !strings.Contains(proof.GetStateMessage(), step.message) ||
				(proof.GetStateMessage() == "") != (step.message == "") {
				t.Errorf("%v %q, want %v %q", proof.GetState(), proof.GetStateMessage(), step.state, step.message)
			}
			if proof.GetLastAttemptTime() == nil || strings.Contains(proof.GetStateMessage(), "10.99.99.99") {
				t.Errorf("proof %v", proof)
			}
			if slices.ContainsFunc(s.txt.asked, func(name string) bool { return strings.Count(name, ".") < 2 }) {
				t.Errorf("asked for %q", s.txt.asked)
			}
		})
	}
}

func TestProofBelongsToADomain(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	s.prove("orders.example.com")
	wider, err := s.rename("*.orders.example.com")
	must(t, err)
	if wider.GetPrivateDnsNameVerification().GetState() != pb.PrivateDnsNameVerification_VERIFIED {
		t.Errorf("the same domain is to be proven again: %v", wider)
	}
	old := wider.GetPrivateDnsNameVerification()
	other, err := s.rename("orders.example.org")
	must(t, err)
	proof := other.GetPrivateDnsNameVerification()
	if proof.GetState() != pb.PrivateDnsNameVerification_PENDING_VERIFICATION || proof.GetRecordValue() == old.GetRecordValue() || proof.GetLastAttemptTime() != nil {
		t.Errorf("another domain has proof %v", proof)
	}
	none, err := s.svc.UpdateEndpointService(s.ctx, &pb.UpdateEndpointServiceRequest{
		EndpointService: &pb.EndpointService{Name: "endpointServices/orders"}, UpdateMask: mask("private_dns_name")})
	must(t, err)
	if none.GetPrivateDnsNameVerification() != nil {
		t.Errorf("without a name there is proof %v", none)
	}
	_, err = s.rename("Orders.example.com")
	wantField(t, err, "endpoint_service.private_dns_name")
	_, err = s.rename("x.causeway.internal")
	wantField(t, err, "endpoint_service.private_dns_name")
}

// TestProofOfAnotherName has the name changed while its proof is looked for.
func TestProofOfAnotherName(t *testing.T) {
	s := newShop(t)
	s.offer("a")
	service, err := s.rename("orders.example.com")
	must(t, err)
	proof := service.GetPrivateDnsNameVerification()
	s.txt.set(map[string][]string{proof.GetRecordName() + ".": {proof.GetRecordValue()}}, nil)
	s.txt.before = func() {
		_, err := s.rename("bank.example.org")
		must(t, err)
	}
	_, err = s.verify()
	wantError(t, err, codes.Aborted, "CONFLICT")
	got, err := s.svc.GetEndpointService(s.ctx, &pb.GetEndpointServiceRequest{Name: "endpointServices/orders"})
	must(t, err)
	if got.GetPrivateDnsNameVerification().GetState() != pb.PrivateDnsNameVerification_PENDING_VERIFICATION {
		t.Errorf("the other name is proven: %v", got)
	}
}
